"""What the tangent space of a field cannot express of a functional gradient."""

import itertools
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.collocation import PointPlan
from sobng.evaluation import unknown_of
from sobng.fields.algebra import entries, rebuild
from sobng.fields.partition import partition
from sobng.independent import (
    BANDWIDTHS,
    extended_system,
    independent_features,
    num_coefficients,
    RATIOS,
    widened,
)
from sobng.linalg.orthonormal import default_cut, lengths, orthonormal
from sobng.linalg.spectrum import least_squares_spectrum
from sobng.metrics.energy import EnergyMetric
from sobng.metrics.gram import AbstractGram
from sobng.metrics.metric import AbstractMetric
from sobng.precision import matmul
from sobng.problem import Energy
from sobng.system import System
from sobng.tangent.motion import Tangent
from sobng.typing import Point, Unknown


class ProjectionError(eqx.Module):
    r"""How much of a functional gradient a field cannot follow; made by
    [`sobng.projection_error`][].

    - `error`: $\lVert \nabla\ell - P_V \nabla\ell \rVert / \lVert \nabla\ell \rVert$,
        between zero and one.
    - `rough`: the part of it that the features cannot express either, so that it is not in
        `field`. In metrics other than that of a sum of squares it is not known, and zero.
    - `field`: $\nabla\ell - P_V \nabla\ell$ as far as the features go, of the kind of the
        unknown. The object itself, called at a point, is its value.
    - `norm`: $\lVert \nabla\ell \rVert$.
    """

    error: float
    rough: float
    norm: float
    field: Unknown

    def __call__(self, x: Point) -> PyTree[Array]:
        """The value of `field` at one point; for a dict unknown a dict."""
        found = {k: v(x) if callable(v) else v for k, v in entries(self.field).items()}
        return rebuild(self.field, found)


def projection_error(
    solution: Any,
    metric: AbstractMetric | None = None,
    *,
    collocation: Any = None,
    args: Any = None,
    key: Any = None,
) -> ProjectionError:
    r"""The part of the functional gradient that the tangent space cannot express.

    $$\frac{\lVert \nabla\ell - P_V \nabla\ell \rVert}{\lVert \nabla\ell \rVert}$$

    with the projection $P_V$ onto the tangent space $V$ of the field. Near one, no step in
    the parameters follows the gradient: more training will not help, a wider network may.
    Near zero, a step does what a step in function space would do.

    By default the metric is the one that the problem induces. For a sum of squares that is
    $\lVert v \rVert = \lVert R'(u)\,v \rVert_{L^2}$, where the gradient is the Newton
    direction, and the number is $|r - P_J r| / |r|$ with the residual $r$ and its Jacobian
    $J$: that of `history["projection_error"]`, on other points. For an energy it is
    $E''(u)$. In any other metric $\nabla\ell$ is the representer of $d\ell$ in $W + V$,
    with a space $W$ of random features that obey the exact conditions, as in
    [`sobng.estimate_error`][]; of a few bandwidths the one that sees most is taken. Where
    $d\ell$ is not bounded in the metric there is no gradient, and the number tends to one
    with finer features.

    !!! example

        ```python
        import jax, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, interval.interior,
                         name="poisson"),
            sn.Dirichlet(interval.boundary, 0.0),
        )
        field = sn.MLP(1, width=3, key=jax.random.key(0))
        solution = sn.solve(problem, field, key=jax.random.key(1), max_steps=20)
        missed = sn.projection_error(solution)
        missed.error, sn.plot_solution(missed.field, interval)
        ```

    **Arguments:**

    - `solution`: a [`sobng.Solution`][] or a [`sobng.System`][]. All its trainable arrays
        span the tangent space.
    - `metric`: of functions; that of the problem by default.

    **Other arguments:**

    - `collocation`: points, as in [`sobng.solve`][]; more than are trained on by default.
    - `args`: what the problem's conditions are given.
    - `key`: for the features.

    **Raises:** `ValueError` beyond five dimensions, without a problem, in the Euclidean
    metric (which measures parameters), or if the exact conditions of the field are not
    sobng's.
    """
    problem = getattr(solution, "problem", None)
    if problem is None:
        raise ValueError(
            "A functional gradient is that of a problem's loss. Got "
            f"{type(solution).__name__} without a problem. Pass what `sobng.solve` "
            "returned, or a `sobng.System`."
        )
    key = jr.key(0) if key is None else key
    ours = isinstance(solution, System)
    unknown = solution.unknown(solution.params) if ours else unknown_of(solution)
    metric = EnergyMetric() if metric is None else metric
    induced = isinstance(metric, EnergyMetric) and not isinstance(problem, Energy)
    features = independent_features(problem, unknown, key)
    params, _ = partition(unknown)
    size = num_coefficients(features) + jfu.ravel_pytree(params)[0].size
    plan = PointPlan(problem, collocation, 4 / 3 * size, jr.fold_in(key, 1))
    points = plan.training(0)
    best: Any = None
    for ratio in RATIOS:
        finer = widened(features, BANDWIDTHS[problem.dim] * ratio)
        system = extended_system(problem, unknown, finer, points, own=True)
        gram = metric.on(system)
        if gram is None:
            raise ValueError(
                "`EuclideanMetric` measures parameters, and not functions: there is no "
                "functional gradient in it. Choose a metric of functions, or none for "
                "that of the problem."
            )
        split = _split(gram, system, args, induced)
        if best is None or split.seen > best[1].seen:
            best = system, split
    system, split = best
    norm = float(split.norm)
    scale = norm if norm > 0 else 1.0
    return ProjectionError(
        error=float(split.missed) / scale,
        rough=float(split.rough) / scale,
        norm=norm,
        field=_motions(system, split.direction),
    )


@eqx.filter_jit
def residual_left(system: System, args: Any, params: PyTree) -> Float[Array, ""]:
    """$|r - P_J r| / |r|$ of a sum of squares: what the history of a run holds."""
    residual = system.residual(params, args)
    model = least_squares_spectrum(system.jacobian(params, args), residual)
    square = jnp.sum(residual**2)
    return jnp.sqrt(jnp.maximum(square - model.explained(), 0) / square)


class _Split(eqx.Module):
    """A gradient by its parts: all of it, what the tangent space lacks, what of that the
    features see and what not; and the direction of the parameters that they see."""

    norm: Float[Array, ""]
    missed: Float[Array, ""]
    seen: Float[Array, ""]
    rough: Float[Array, ""]
    direction: Float[Array, " params"]


def _own(system: System) -> Iterator[bool]:
    """Of every parameter whether it is the field's own, and not a coefficient of `v`."""
    depth = 1 if isinstance(system.params, dict) else 0
    leaves, _ = jax.tree_util.tree_flatten_with_path(system.params)
    for path, leaf in leaves:
        beside = path[depth : depth + 1] == (jax.tree_util.GetAttrKey("v"),)
        yield from itertools.repeat(not beside, leaf.size)


@eqx.filter_jit
def _split(gram: AbstractGram, system: System, args: Any, induced: bool) -> _Split:
    """Projects the gradient onto the tangent space, and then onto the features."""
    params = system.params
    own = np.asarray(list(_own(system)))
    ours, theirs = np.flatnonzero(own), np.flatnonzero(~own)
    factor = gram.factor(params, args)
    cut = default_cut(factor.dtype)
    frame, columns = orthonormal(factor[:, ours], cut)
    beside = factor[:, theirs]
    # What the features have in common with the tangent space, taken off them.
    shared = matmul(frame.T, beside)
    rest = beside - matmul(frame, shared)
    rest = rest - matmul(frame, matmul(frame.T, rest))
    other, turned = orthonormal(rest, cut, lengths(beside))
    back = matmul(shared, turned)
    if induced:
        residual = system.residual(params, args)
        left = residual - matmul(frame, matmul(frame.T, residual))
        coordinates = matmul(other.T, left)
        norm, missed = jnp.linalg.norm(residual), jnp.linalg.norm(left)
        rough = jnp.linalg.norm(left - matmul(other, coordinates))
    else:
        slope, _ = jfu.ravel_pytree(jax.grad(system.loss)(params, args))
        inside = matmul(columns.T, slope[ours])
        coordinates = matmul(turned.T, slope[theirs]) - matmul(back.T, inside)
        missed = jnp.linalg.norm(coordinates)
        norm, rough = jnp.hypot(jnp.linalg.norm(inside), missed), jnp.zeros_like(missed)
    direction = jnp.zeros(own.size, factor.dtype)
    direction = direction.at[ours].set(-matmul(columns, matmul(back, coordinates)))
    direction = direction.at[theirs].set(matmul(turned, coordinates))
    seen = jnp.linalg.norm(coordinates)
    return _Split(norm, missed, seen, rough, direction)


def _motions(system: System, direction: Float[Array, " params"]) -> Unknown:
    """How every entry of the unknown moves along a direction of the parameters."""
    unknown = system.unknown(system.params)

    def one(name, entry):
        motion = Tangent(system.params, system.rest, name).along(direction)
        # An entry that is no field is the same at every point.
        return motion if callable(entry) else motion(jnp.zeros(system.problem.dim))

    return rebuild(unknown, {k: one(k, v) for k, v in entries(unknown).items()})
