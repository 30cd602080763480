"""Sobolev metrics: by derivatives and quadrature, or by the symbol for any order."""

import itertools
import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.calculus import directional, partial
from sobng.collocation import default_sampler
from sobng.metrics.gram import Pullback, Total
from sobng.metrics.metric import AbstractMetric, fields, interior, Values
from sobng.metrics.regularity import check_smooth
from sobng.norms import SobolevNorm
from sobng.norms.modes import NormOnPoints
from sobng.norms.scales import checked_scale, Scale, scale_of_axes


def multi_indices(order: int, dim: int, *, homogeneous: bool = False):
    r"""Each derivative up to an order once, as a tuple of axes, with its weight.

    The weights $c_\alpha = s! / (\alpha!\,(s - |\alpha|)!)$ make the sum the norm with
    symbol $(1 + |\xi|^2)^s$, and its top order alone the one with $|\xi|^{2s}$.
    """
    for degree in range(order if homogeneous else 0, order + 1):
        for axes in itertools.combinations_with_replacement(range(dim), degree):
            counts = [axes.count(axis) for axis in set(axes)]
            weight = math.factorial(order) / math.factorial(order - degree)
            yield axes, weight / math.prod(math.factorial(c) for c in counts)


class SobolevMetric(AbstractMetric):
    r"""The metric of the Sobolev space $H^s(\Omega)$, for any real order $s$.

    In the directions $v, w$ of the parameters, with a density $\rho$ and length scales
    $\ell$ (both one by default), for an integer order of at least 0

    $$G(v, w) = \sum_{|\alpha| \le s} c_\alpha\, \ell^{2\alpha} \int_\Omega \rho\,
        \partial^\alpha (Du\,v)\; \partial^\alpha (Du\,w),
        \qquad c_\alpha = \frac{s!}{\alpha!\,(s - |\alpha|)!},$$

    by the quadrature of the system's interior points. Order 0 is $L^2$. For a residual
    of an operator of order $k$ the matching order is $s = k$, for a Ritz energy half of
    the operator's order. The field must have $s$ derivatives: no ReLU from order 1 on.

    Fractional and negative orders, and all orders with `boundary=`, are those of
    [`sobng.SobolevNorm`][], on the values at the interior points. Negative orders see the
    smooth part of a change only, so that the rest is hardly damped.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(metric=sn.SobolevMetric(order=1))
        # In space-time (t, x): second order in x, none in t.
        sn.SobolevMetric(order=2, scale=(0.0, 1.0))
        sn.SobolevMetric(order=-1, boundary="dirichlet")
        ```

    ??? cite "Reference"

        After Bai, Rosenberg, Xu: arXiv 2202.06232. The factor by derivatives and
        quadrature follows Nurbekyan, Lei, Yang: arXiv 2202.06236.
    """

    order: int | float = eqx.field(static=True)
    weights: Callable | None = eqx.field(static=True)
    homogeneous: bool = eqx.field(static=True)
    scale: Scale = eqx.field(static=True)
    extension: bool = eqx.field(static=True)
    norm: SobolevNorm | None

    def __init__(
        self,
        order: int | float = 1,
        *,
        weights: Callable | None = None,
        homogeneous: bool = False,
        scale: int | float | Sequence[int | float] = 1.0,
        extension: bool = False,
        boundary: str | None = None,
    ):
        r"""**Arguments:**

        - `order`: how many derivatives the norm sees.
        - `weights`: a positive density `weights(x)` at one point.
        - `homogeneous`: derivatives of the top order only (a semi-norm).
        - `scale`: the length $\ell$ of which a derivative counts as much as a value; one
            for all axes, or one for each. Zero leaves an axis out.
        - `extension`: add the terms on the boundary that make it, in one dimension, the
            norm of the minimal extension to the whole line, which is what
            [`sobng.KernelMetric`][] tends to. In more dimensions the same terms in normal
            derivatives, integrated over the boundary.
        - `boundary`: `"dirichlet"`, `"neumann"` or `"periodic"`: the norm by the symbol of
            this boundary condition. Fractional and negative orders are Neumann's by
            default.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if isinstance(order, float) and order >= 0 and order.is_integer():
            order = int(order)  # or 2.0 would be measured by its symbol, and 2 not
        scale = checked_scale(scale)
        if weights is not None and not callable(weights):
            raise ValueError(f"`weights` is a function of one point. Got {weights!r}.")
        if extension and (
            homogeneous or weights is not None or isinstance(scale, tuple)
        ):
            raise ValueError(
                "The boundary terms are those of the full norm with one scale and no "
                "density. Leave out `extension`, or `homogeneous`, `weights` and scales "
                "for single axes."
            )
        self.norm = None
        if boundary is not None or not isinstance(order, int) or order < 0:
            self.norm = SobolevNorm(
                order,
                boundary="neumann" if boundary is None else boundary,
                homogeneous=homogeneous,
                scale=scale,
            )
            if extension or weights is not None:
                raise ValueError(
                    "A Sobolev norm by its symbol, as for fractional and negative orders, "
                    f"has no `extension` and no density. Got order {order!r}. Leave them "
                    "out, or use an integer order without `boundary`."
                )
        self.order = order
        self.weights = weights
        self.homogeneous = homogeneous
        self.scale = scale
        self.extension = extension

    def on(self, system, entry=None):
        if self.norm is not None:
            points, weights = interior(system)
            region = system.problem.domain.interior
            return Pullback(
                system,
                Values(),
                points,
                weights,
                transform=_Measured(self.norm.on(region, points, weights)),
                entry=entry,
            )
        assert isinstance(self.order, int)
        points, weights = interior(system)
        check_smooth("SobolevMetric", system, points, entry, self.order)
        dim = system.problem.dim
        inside = Pullback(system, self.jet(dim), points, weights, entry=entry)
        if not (self.extension and self.order):
            return inside
        region = system.problem.domain.boundary
        sampler = default_sampler(region, points.shape[0])
        edge, share = sampler(region, jax.random.key(0))
        dtype = points.dtype
        (scale, *_) = scale_of_axes("SobolevMetric", self.scale, dim)
        trace = _Trace(region.normal, _extension(self.order, scale))
        outside = Pullback(
            system,
            trace,
            jnp.asarray(edge, dtype),
            jnp.asarray(share, dtype),
            entry=entry,
        )
        return Total((inside, outside), (1.0, 1.0))

    def jet(self, dim: int) -> "Jet":
        """The derivatives at a point whose squares the metric integrates."""
        assert isinstance(self.order, int)
        scales = scale_of_axes("SobolevMetric", self.scale, dim)
        terms = []
        for axes, weight in multi_indices(
            self.order, dim, homogeneous=self.homogeneous
        ):
            root = math.sqrt(weight) * math.prod(scales[axis] for axis in axes)
            if root > 0:
                terms.append((axes, root))
        return Jet(tuple(terms), self.weights)


class Jet(eqx.Module):
    """The scaled derivatives of all fields at a point, in one vector."""

    terms: tuple[tuple[tuple[int, ...], float], ...] = eqx.field(static=True)
    density: Callable | None = eqx.field(static=True)

    def __call__(self, unknown, x, args=None):
        del args
        values = [
            root * jnp.ravel(partial(u, *axes)(x) if axes else u(x))
            for u in fields(unknown)
            for axes, root in self.terms
        ]
        values = jnp.concatenate(values)
        return values if self.density is None else jnp.sqrt(self.density(x)) * values


VALUES = Jet((((), 1.0),), None)
"""What $L^2$ sees."""


class _Measured(eqx.Module):
    """A norm by its symbol, as a transform of the values at all points."""

    norm: NormOnPoints

    def __call__(self, tangents, values):
        del values
        return self.norm(tangents)


class _Trace(eqx.Module):
    """A linear form of the normal derivatives of all fields at a boundary point."""

    normal: Callable
    form: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    def __call__(self, unknown, x, args):
        del args
        normal = self.normal(x)
        values = []
        for u in fields(unknown):
            derivatives = [u(x)]
            for order in range(1, len(self.form)):
                derivatives.append(directional(u, normal, order)(x))
            stacked = jnp.stack([jnp.ravel(d) for d in derivatives])
            values.append(jnp.ravel(jnp.asarray(self.form, x.dtype) @ stacked))
        return jnp.concatenate(values)


def _extension(order: int, scale: float) -> tuple[tuple[float, ...], ...]:
    r"""The factor `E` with $|E j|^2$ the least $H^s(0, \infty)$ norm of a function whose
    first `order` derivatives at zero are `j`.

    That function is $e^{-x/\ell}$ times a polynomial of degree below the order.
    """
    monomials = np.arange(order)
    factorial = np.array([math.factorial(k) for k in range(2 * order)], dtype=float)

    def differentiate(rows):
        # (x^k e^-x)' = (k x^(k-1) - x^k) e^-x, on rows of coefficients.
        lower = np.zeros_like(rows)
        lower[:, :-1] = rows[:, 1:] * monomials[1:]
        return lower - rows

    moments = factorial[np.add.outer(monomials, monomials)]
    moments = moments / 2.0 ** (np.add.outer(monomials, monomials) + 1)
    rows, gram, jets = np.eye(order), np.zeros((order, order)), []
    for degree in range(order + 1):
        gram += math.comb(order, degree) * rows @ moments @ rows.T
        if degree < order:
            jets.append(rows[:, 0])
        rows = differentiate(rows)
    # Derivatives scale with the inverse of the length.
    inverse = np.linalg.inv(np.stack(jets)) * scale**monomials
    form = scale * inverse.T @ gram @ inverse
    return tuple(tuple(map(float, row)) for row in np.linalg.cholesky(form).T)
