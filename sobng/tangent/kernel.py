"""The kernel of a tangent space: neural tangent kernel, projected reproducing kernel."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from sobng.chunks import CHUNK, chunked
from sobng.collocation import PointPlan
from sobng.evaluation import unknown_of
from sobng.fields.partition import partition
from sobng.geometry.domain import AbstractDomain
from sobng.linalg.orthonormal import default_cut, orthonormal
from sobng.metrics.euclidean import EuclideanMetric
from sobng.metrics.gram import AbstractGram
from sobng.metrics.metric import AbstractMetric, interior
from sobng.precision import matmul
from sobng.problem import Energy
from sobng.system import System
from sobng.tangent.motion import Motion, Tangent
from sobng.typing import Point, Points, Scalar, Weights


MAX_SHARE = 1000
"""Parameters beyond which the number of points is no longer raised."""


class TangentKernel(eqx.Module):
    r"""The reproducing kernel of a tangent space $V$; made by [`sobng.tangent_kernel`][].

    - `domain`: over what the integral operator $(Tf)(x) = \int K_G(x, y) f(y)\,dy$ acts,
        or `None`.
    - `spectrum`: its eigenvalues, the largest first, by quadrature: how fast a gradient
        flow of the $L^2$ distance in this metric moves along each eigenfunction. Zero
        beyond `rank`.
    - `columns`: directions of the parameters that are orthonormal in the metric, or `None`
        if all unit vectors are.
    """

    tangent: Tangent
    columns: Float[Array, "params rank"] | None
    modes: Float[Array, "params rank"] | None
    eigenvalues: Float[Array, " rank"] | None
    domain: AbstractDomain | None

    def __call__(self, x: Point, y: Point) -> Array:
        """The kernel at one pair of points.

        **Arguments:**

        - `x`, `y`: two points, shape `(dim,)` each.

        **Returns:** a number for a scalar field, else a matrix `(out, out)`.
        """
        scalar = self.tangent.value(self.tangent.flat, x).ndim == 0
        found = matmul(self.features(x), self.features(y).T)
        return found[0, 0] if scalar else found

    def features(self, x: Point) -> Float[Array, "out rank"]:
        """Functions that are orthonormal in the metric and span the tangent space.

        **Arguments:**

        - `x`: a point, shape `(dim,)`.
        """
        rows = self.tangent.rows(x)
        return rows if self.columns is None else matmul(rows, self.columns)

    def matrix(
        self, points: Points, others: Float[Array, "m dim"] | None = None
    ) -> Float[Array, "rows columns"]:
        """The kernel at all pairs of points.

        **Arguments:**

        - `points`: shape `(n, dim)`, for the rows.
        - `others`: shape `(m, dim)`, for the columns; the same points by default.

        **Returns:** shape `(n, m)`; for a field of several components `(n out, m out)`,
        the components of one point beside each other.
        """
        first = self._many(points)
        second = first if others is None else self._many(others)
        return matmul(first, second.T)

    def _many(self, points):
        blocks = chunked(self.features, CHUNK, points)
        return blocks.reshape(-1, blocks.shape[-1])

    @property
    def spectrum(self) -> Float[Array, " rank"]:
        if self.eigenvalues is None:
            raise ValueError(
                "The spectrum of a kernel is that of an integral operator, and no domain "
                "is known. Pass `domain=` to `sobng.tangent_kernel`."
            )
        return self.eigenvalues

    @property
    def rank(self) -> int:
        """How many eigenvalues are not rounding: the dimension of $V$, as far as the
        points show it."""
        return int(jnp.sum(self.spectrum > 0))

    def effective_dimension(self, damping: Any) -> Scalar:
        r"""$\sum_k \lambda_k / (\lambda_k + \mu)$: how many eigenfunctions a damping leaves.

        **Arguments:**

        - `damping`: $\mu > 0$, in the units of the spectrum.
        """
        return jnp.sum(self.spectrum / (self.spectrum + damping))

    @property
    def condition_number(self) -> float:
        """The largest over the least eigenvalue that is not rounding."""
        return float(self.spectrum[0] / self.spectrum[self.rank - 1])

    def eigenfunctions(self, num: int) -> tuple[Motion, ...]:
        """The first eigenfunctions, of unit $L^2$ norm, as functions of one point.

        **Arguments:**

        - `num`: how many.

        **Raises:** `ValueError` if there are fewer.
        """
        if not 1 <= num <= self.rank:
            raise ValueError(
                f"This kernel has {self.rank} eigenfunctions. Got num={num}. Ask for as "
                "many at most."
            )
        assert self.modes is not None
        return tuple(self.tangent.along(self.modes[:, k]) for k in range(num))


def tangent_kernel(
    field: Any,
    metric: AbstractMetric | None = None,
    *,
    domain: AbstractDomain | None = None,
    collocation: Any = None,
    args: Any = None,
    observe: Any = None,
    cut: float | None = None,
) -> TangentKernel:
    r"""The kernel of a field's tangent space in a metric.

    $$K_G(x, y) = \sum_{ij} \partial_i u(x)\, (G^{-1})_{ij}\, \partial_j u(y),$$

    with the derivatives $\partial_i u$ of the field in its parameters, that span the
    tangent space $V$, and their Gram matrix $G$. It is the reproducing kernel of $V$ in
    that metric, and for a pointwise loss with cotangents $r_n$ the step
    $G^{-1} \nabla \ell$ moves the field along $\sum_n r_n K_G(\cdot, x_n)$. With the
    Euclidean metric it is the empirical neural tangent kernel, with another one the
    generalised tangent kernel; in a space with reproducing kernel $K$ it is the projected
    kernel, $P_V K$. $G^{-1}$ comes from an orthogonal factorisation of the metric's
    factor; where parameters are redundant it is a generalised inverse.

    !!! example

        ```python
        import jax, jax.numpy as jnp, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        field = sn.MLP(1, width=8, key=jax.random.key(0), domain=interval)
        neural = sn.tangent_kernel(field, domain=interval)
        sobolev = sn.tangent_kernel(field, sn.SobolevMetric(order=1), domain=interval)
        sobolev(jnp.array([0.2]), jnp.array([0.7])), neural.condition_number
        ```

    ??? cite "Reference"

        After Bai, Rosenberg, Xu: arXiv 2202.06232; the neural tangent kernel is that of
        Jacot, Gabriel, Hongler: arXiv 1806.07572.

    **Arguments:**

    - `field`: a [`sobng.Solution`][], a [`sobng.System`][], a field, or a dict of fields
        and arrays.
    - `metric`: of functions; Euclidean in the parameters by default.

    **Other arguments:**

    - `domain`: where, for a bare field. The Euclidean metric needs none, but for the
        spectrum.
    - `collocation`: points, as in [`sobng.solve`][], on which the metric and the spectrum
        are integrated.
    - `args`: what the problem's conditions are given.
    - `observe`: of which part of the unknown, as in [`sobng.observed`][].
    - `cut`: motions in which the derivatives cancel to this part of their lengths are
        left out; by default the precision to the power 2/3.

    **Raises:** `ValueError` if a metric is given and no domain is known, or if the metric
    does not suit the points or the field.
    """
    system = _system_of(field, domain, collocation)
    if system is None:
        if not isinstance(metric, EuclideanMetric | None):
            raise ValueError(
                f"`{type(metric).__name__}` integrates over a domain, and this field has "
                "none. Pass `domain=`, or a solution."
            )
        tangent = Tangent(*partition(unknown_of(field)), observe)
        return TangentKernel(tangent, None, None, None, None)
    tangent = Tangent(system.params, system.rest, observe)
    gram = None if metric is None else metric.on(system)
    cut = default_cut(system.collocation.dtype) if cut is None else float(cut)
    columns = None if gram is None else _columns(gram, system.params, args, cut)
    modes, eigenvalues = _modes(tangent, columns, *interior(system))
    if gram is not None and not eigenvalues[0] > 0:
        raise ValueError(
            f"`{type(metric).__name__}` does not see any motion of this field. A metric "
            "that a problem induces needs the problem: pass a solution or a system."
        )
    return TangentKernel(tangent, columns, modes, eigenvalues, system.problem.domain)


def _system_of(field: Any, domain: AbstractDomain | None, given: Any) -> System | None:
    """A field on points of its problem, or of a domain; `None` if neither is known."""
    if isinstance(field, System):
        return field
    problem = getattr(field, "problem", None)
    unknown = unknown_of(field)
    if problem is None:
        domain = getattr(field, "domain", None) if domain is None else domain
        if domain is None:
            return None
        problem = Energy(_nothing, domain)
    params, _ = partition(unknown)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    plan = PointPlan(problem, given, float(min(size, MAX_SHARE)), jr.key(0))
    return System(problem, unknown, plan.training(0))


def _nothing(u, x, args):
    """The density of a domain without a problem."""
    return jnp.zeros((), x.dtype)


@eqx.filter_jit
def _columns(gram: AbstractGram, params: PyTree, args: Any, cut: float):
    """Directions of the parameters, orthonormal in the metric."""
    return orthonormal(gram.factor(params, args), cut)[1]


@eqx.filter_jit
def _modes(tangent: Tangent, columns: Any, points: Points, weights: Weights):
    """Directions of the eigenfunctions and their eigenvalues, on the points."""

    def features(x, weight):
        rows = tangent.rows(x)
        return jnp.sqrt(weight) * (rows if columns is None else matmul(rows, columns))

    rows = chunked(features, CHUNK, points, weights)
    rows = rows.reshape(-1, rows.shape[-1])
    tall = rows.shape[0] > rows.shape[1]
    core = jnp.linalg.qr(rows, mode="r") if tall else rows
    _, singular, right = jnp.linalg.svd(core, full_matrices=False)
    least = max(rows.shape) * jnp.finfo(rows.dtype).eps * singular[0]
    kept = singular > least
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    modes = right.T * inverse[None]
    modes = modes if columns is None else matmul(columns, modes)
    return modes, jnp.where(kept, singular, 0) ** 2
