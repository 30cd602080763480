"""How large the error is, estimated from the defect equation."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from sobng.collocation import Collocation, discretise
from sobng.evaluation import observed
from sobng.fields.algebra import add, entries
from sobng.fields.time_slabs import slabs_of
from sobng.geometry.samplers import Sobol
from sobng.independent import (
    BANDWIDTHS,
    extended_system,
    independent_features,
    num_coefficients,
    RATIOS,
    widened,
)
from sobng.once import once
from sobng.precision import matmul
from sobng.problem import Condition, Energy, Problem
from sobng.problem.condition import residual_at
from sobng.solvers.marching import marches
from sobng.solvers.slab_defect import slab_defect
from sobng.system import System


ENOUGH = 0.15
"""A left-over part of the residual below which no other bandwidth is tried."""

TRUSTED = 0.5
"""A left-over part above which an estimate is too low, and not given (measured)."""

WAVES = 256
REACH = 16.0
"""Random waves, and how far beyond the features' bandwidth, in which the power of a
rough residual is measured."""

SAMPLES = 8192

AT_ONCE = 1024
"""Points at which fields in slabs are evaluated together."""

ROUGH = 1e-6
"""An error above which a residual that no features follow may as well be a front."""


class Estimate(eqx.Module):
    """An estimate of the relative L2 error, or the reason why there is none."""

    error: float | None
    reason: str


def estimate_error(
    problem: Problem | Energy,
    unknown: PyTree,
    args: Any,
    *,
    key: jax.Array,
    observe: Any = None,
) -> Estimate:
    r"""Solves the linearised defect equation $R'(u)\,e = -R(u)$ in an independent space
    of random sine features, on fresh points, and takes $\|e\| / \|u + e\|$.

    The features obey the exact conditions of $u$. What they leave of the residual is
    rougher than they are: its part of the error is its power at random waves over the
    squared symbol of $R'(u)$ there. Rounding of the values is added. A large residual
    that features cannot follow may be a front; then no estimate is given. Residuals are
    taken in $L^2$, also those of conditions with a norm of their own. Of a field in slabs
    of time the error is sought in as many slabs and the same coordinates.

    **Arguments:**

    - `key`: for the features and the points; independent of the training's.
    - `observe`: of which part of the unknown; as in [`sobng.Case`][].
    """
    if isinstance(problem, Energy):
        return Estimate(None, "An energy has no residual to estimate the error from.")
    problem = _in_l2(problem)
    if slabs_of(unknown) is not None and marches(problem):
        return _in_slabs(problem, unknown, args, key, observe)
    try:
        shapes = independent_features(problem, unknown, key)
    except ValueError as error:
        return Estimate(None, str(error))
    points, fitted = _points(problem, shapes, key)
    start = BANDWIDTHS[problem.dim]
    best = (float("inf"), float("nan"))
    for ratio in RATIOS:
        field = widened(shapes, start * ratio)
        system = extended_system(problem, unknown, field, points)
        left, size = jax.device_get(_solve_defect(system, fitted, args, observe))
        best = min(best, (float(left), float(size)))
        if best[0] < ENOUGH:
            break
    left, size = best
    whole = System(problem, unknown, _many_points(problem, key))
    rough = 0.0
    if not left < ENOUGH:
        waves = _random_waves(key, _shapes(whole), problem.dim, whole.collocation.dtype)
        rough = float(_rough_part(whole, args, observe, waves, start))
    noise = float(_noise(whole, observe, key))
    estimate = math.hypot(size, min(left, 1.0) * rough, noise)
    return _given(estimate, left)


def _in_slabs(problem, unknown, args, key, observe) -> Estimate:
    """The error in as many slabs and the same coordinates. Features of all times at once
    would not follow it."""
    found, left = slab_defect(problem, unknown, args, jr.fold_in(key, 3))
    whole = System(problem, unknown, _many_points(problem, key))
    size = float(_size(whole, found, observe))
    estimate = math.hypot(size, float(_noise(whole, observe, key)))
    return _given(estimate, left)


@once
def _size(system: System, error: PyTree, observe: Any):
    """The relative size of an error that was found."""
    u = system.unknown(system.params)
    _, points, weights = _interior(system)
    look = observed(observe)
    right = add(u, error, 1.0)
    change = lambda x: look(right, x) - look(u, x)
    wrong = jax.lax.map(change, points, batch_size=AT_ONCE)
    total = jax.lax.map(lambda x: look(right, x), points, batch_size=AT_ONCE)
    return _norm(wrong, weights) / _norm(total, weights)


def _given(estimate: float, left: float) -> Estimate:
    """An estimate, unless it is none or too low."""
    if not math.isfinite(estimate):
        return Estimate(None, "The defect equation has no finite solution.")
    if left > TRUSTED and estimate > ROUGH:
        return Estimate(
            None,
            f"The estimator's features leave {min(left, 1.0):.0%} of a residual that is "
            "not small, so that an estimate from them would be too low.",
        )
    return Estimate(estimate, "")


def _in_l2(problem: Problem) -> Problem:
    """The same equations, whatever the norm that they were trained in."""

    def plain(condition):
        if not isinstance(condition, Condition) or condition.norm is None:
            return condition
        return Condition(
            condition.function,
            condition.region,
            name=condition.name,
            weight=condition.weight,
        )

    return Problem(*map(plain, problem.conditions), out=problem.out)


def _many_points(problem, key) -> Collocation:
    """Random points, dense enough for waves that no rule resolves."""

    def sampler(region, key):
        return Sobol(64 if region.is_boundary else SAMPLES)(region, key)

    return discretise(problem, 64, sampler=sampler, key=jr.fold_in(key, 7))


def _points(problem, fields, key) -> tuple[Collocation, dict[str, int]]:
    """For each condition points to fit the error on, and how many they are, and after
    them random ones to see what it leaves: together, so that all compile once.

    Rules up to three dimensions: at random points the roughness of a residual would
    alias into a smooth error that is not there.
    """
    num = 4 * num_coefficients(fields)

    def sampler(share):
        def draw(region, key):
            return Sobol(max(64, share // (4 if region.is_boundary else 1)))(
                region, key
            )

        return draw

    fit, held = jr.split(jr.fold_in(key, 99))
    rule = None if problem.dim <= 3 else sampler(num)
    fit = discretise(problem, num, sampler=rule, key=fit)
    held = discretise(problem, num, sampler=sampler(num // 4), key=held)

    def join(first, second):
        return {name: np.concatenate([first[name], second[name]]) for name in first}

    points = Collocation(join(fit.points, held.points), join(fit.weights, held.weights))
    return points, {name: len(first) for name, first in fit.points.items()}


@once
def _solve_defect(system: System, fitted: dict[str, int], args: Any, observe: Any):
    """The left-over part of the residual on the points that were not fitted, and the
    relative error there."""
    params = system.params
    residual, jacobian = system.linearised(params, args)
    edges = np.cumsum(system.block_sizes(args))[:-1]
    blocks = list(
        zip(jnp.split(residual, edges), jnp.split(jacobian, edges), strict=True)
    )
    parts = [
        fitted[name] / len(system.collocation.points[name]) for name in system.names
    ]
    nums = [round(len(r) * part) for (r, _), part in zip(blocks, parts, strict=True)]
    # Unbalanced, a boundary value weighs as little beside a second derivative as its
    # square wavelength, and an error that comes in through the boundary is not seen.
    norms = jnp.stack(
        [jnp.linalg.norm(j[:num]) for (_, j), num in zip(blocks, nums, strict=True)]
    )
    tiny = jnp.finfo(jacobian.dtype).tiny
    weights = jnp.max(norms) / jnp.maximum(norms, tiny)
    blocks = [(w * r, w * j) for w, (r, j) in zip(weights, blocks, strict=True)]

    def stacked(which):
        cut = [(r[s], j[s]) for (r, j), s in zip(blocks, which, strict=True)]
        return [jnp.concatenate(rows) for rows in zip(*cut, strict=True)]

    residual, jacobian = stacked([slice(num) for num in nums])
    before, unseen = stacked([slice(num, None) for num in nums])
    scale = jnp.linalg.norm(jacobian, axis=0)
    scale = jnp.maximum(scale, tiny)
    stacked_rows = jnp.concatenate([jacobian / scale[None], residual[:, None]], axis=1)
    reduced = jnp.linalg.qr(stacked_rows, mode="r")[: jacobian.shape[1]]
    left, singular, right = jnp.linalg.svd(reduced[:, :-1], full_matrices=False)
    kept = singular > 1e-11 * singular[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    change = -(right.T @ (inverse * (left.T @ reduced[:, -1]))) / scale
    flat, unravel = jfu.ravel_pytree(params)
    # The linearised residual, exact to rounding also where the problem is not linear.
    after = before + matmul(unseen, change)
    leftover = jnp.linalg.norm(after) / jnp.linalg.norm(before)
    name, points, weights = _interior(system)
    points, weights = points[fitted[name] :], weights[fitted[name] :]
    look = observed(observe)
    new = system.unknown(unravel(flat + change))
    error = jax.vmap(lambda x: look(_part(new, "v"), x))(points)
    total = jax.vmap(lambda x: look(new, x))(points)
    return leftover, _norm(error, weights) / _norm(total, weights)


def _norm(values, weights):
    """The L2 norm of values at points, by quadrature."""
    values = values.reshape(values.shape[0], -1)
    return jnp.sqrt(jnp.sum(weights[:, None] * values**2))


def _shapes(system: System) -> dict[str | None, tuple[int, ...]]:
    """The shapes of the values of the fields of an unknown."""
    point = jax.ShapeDtypeStruct((system.problem.dim,), system.collocation.dtype)
    fields = entries(system.unknown(system.params))
    return {k: jax.eval_shape(f, point).shape for k, f in fields.items() if callable(f)}


@once
def _random_waves(key, shapes, dim: int, dtype: Any):
    """Directions, and for every field amplitudes and phases: apart from what is done with
    them, so that a run compiles it once and not for each field that it tries."""
    direction_key, wave_key = jr.split(key)
    # Apart, as a GPU's compiler would else repeat the draws in all that is made of them.
    directions = jax.lax.optimization_barrier(
        jr.normal(direction_key, (WAVES, dim), dtype)
    )
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)

    def fluctuation(key, i, shape):
        mix_key, shift_key = jr.split(jr.fold_in(key, i))
        mix = jr.normal(mix_key, shape, dtype)
        return mix, jr.uniform(shift_key, (), dtype, 0, 2 * jnp.pi)

    keys = jr.split(wave_key, WAVES)
    return directions, {
        name: jax.vmap(lambda key, i=i, shape=shape: fluctuation(key, i, shape))(keys)
        for i, (name, shape) in enumerate(shapes.items())
    }


@once
def _rough_part(system: System, args: Any, observe: Any, waves: Any, cut: float):
    """The relative error of a residual too rough for any features.

    Its power is measured at random wave vectors beyond the bandwidth `cut`, and divided
    by the squared symbol of the linearised operator there, which random waves show.
    """
    u = system.unknown(system.params)
    inside = [c for c in system.problem.conditions if not c.region.is_boundary]
    _, points, weights = _interior(system)
    lower, upper = (jnp.asarray(b, points.dtype) for b in system.problem.domain.bounds)
    cell = lambda x: (2 * x - (lower + upper)) / (upper - lower)
    cells = jax.vmap(cell)(points)
    look = observed(observe)
    zero, one = jnp.zeros((), points.dtype), jnp.ones((), points.dtype)

    def residual(v, x):
        values = [
            jnp.sqrt(jnp.asarray(c.weight, x.dtype)) * jnp.ravel(c.residual(v, x, args))
            for c in inside
        ]
        return jnp.concatenate(values)

    # The field that was trained: of that the residual is traced already.
    rows = lambda x: [
        jnp.sqrt(jnp.asarray(c.weight, x.dtype)) * residual_at(c, u, x, args)
        for c in inside
    ]
    r = jax.vmap(lambda x: jnp.concatenate(rows(x)))(points)
    dim, num = points.shape[1], points.shape[0]
    directions, fluctuations = waves
    reach = jnp.linspace(0, 1, WAVES, dtype=points.dtype)
    lengths = cut * jnp.exp(reach * jnp.log(jnp.asarray(REACH, points.dtype)))
    vectors = lengths[:, None] * directions
    share = weights / jnp.sum(weights)

    def power(vector):
        phase = cells @ vector
        sine = (share * jnp.sin(phase)) @ r
        cosine = (share * jnp.cos(phase)) @ r
        # Sampling noise puts the mean square over the number of points everywhere.
        return jnp.sum(sine**2 + cosine**2)

    def symbol(vector, fluctuations):
        def wave(mix, shift):
            return lambda x: mix * jnp.sin(jnp.sum(vector * cell(x)) + shift)

        parts = {name: wave(*pair) for name, pair in fluctuations.items()}
        v = parts if isinstance(u, dict) else parts[None]

        def change(function, x):
            return jax.jvp(lambda s: function(add(u, v, s), x), (zero,), (one,))[1]

        few = points[:32]
        size = jnp.sum(jax.vmap(lambda x: change(look, x))(few) ** 2)
        return jnp.sum(jax.vmap(lambda x: change(residual, x))(few) ** 2) / size

    mean_square = jnp.sum(share[:, None] * r**2)
    powers = jnp.maximum(jax.vmap(power)(vectors) - mean_square / num, 0)
    symbols = jax.vmap(symbol)(vectors, fluctuations)
    density = powers * lengths**dim
    total = jnp.maximum(jnp.sum(density), jnp.finfo(points.dtype).tiny)
    square = mean_square * jnp.sum(density / symbols) / total
    scale = _norm(jax.vmap(lambda x: look(u, x))(points), share)
    return jnp.sqrt(square) / scale


@once
def _noise(system: System, observe: Any, key: jax.Array):
    """The relative rounding of the values: their change when every parameter changes by
    half its last digit (measured with a larger change, and scaled down), and a unit in
    their own last place."""
    _, points, _ = _interior(system)
    points = points[:512]
    look = observed(observe)
    flat, unravel = jfu.ravel_pytree(system.params)
    eps = float(jnp.finfo(flat.dtype).eps)
    small = eps**0.5
    sign = jr.uniform(key, flat.shape, flat.dtype, -1, 1)
    still = system.unknown(system.params)
    moved = system.unknown(unravel(flat * (1 + small * sign)))
    values = jax.vmap(lambda x: look(still, x))(points)
    others = jax.vmap(lambda x: look(moved, x))(points)
    change = jnp.linalg.norm(others - values) / jnp.linalg.norm(values)
    return jnp.hypot(change * (0.5 * eps / small), jnp.asarray(eps, flat.dtype))


def _part(unknown, which):
    """The summand `u` or `v` of every sum; entries without one stay."""
    parts = {k: getattr(v, which, v) for k, v in entries(unknown).items()}
    return parts if isinstance(unknown, dict) else parts[None]


def _interior(system: System):
    for condition in system.problem.conditions:
        if not condition.region.is_boundary:
            names = [condition.name]
            break
    else:
        names = system.names
    name = names[0]
    return name, system.collocation.points[name], system.collocation.weights[name]
