"""How large the error is, estimated from the defect equation."""

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
from sobng.exact import impose
from sobng.fields.algebra import add, entries, rebuild
from sobng.fields.constrained import Constrained
from sobng.fields.features import sine_features
from sobng.fields.field import sizes_of
from sobng.fields.partition import linear_leaves
from sobng.geometry.samplers import Sobol
from sobng.problem import Energy, Problem
from sobng.system import satisfied, System


FEATURES = {1: 128, 2: 500, 3: 1000, 4: 800, 5: 800}
"""Sine features of the estimator, all components together (measured)."""

BANDWIDTHS = {1: 48.0, 2: 9.0, 3: 3.0, 4: 2.0, 5: 2.0}
"""The first bandwidth that is tried; others follow in these ratios."""

RATIOS = (1.0, 1.5, 2.25, 1 / 1.5)

ENOUGH = 0.15
"""A left-over part of the residual below which no other bandwidth is tried."""

TRUSTED = 0.5
"""A left-over part above which an estimate is too low, and not given (measured)."""

ROUNDING = 500.0
"""Residual, over its change under a perturbation of the parameters by one unit in the
last place, below which it is rounding."""


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

    The features obey the exact conditions of $u$. Where they cannot reproduce the
    residual, the estimate would be too low and is not given.

    **Arguments:**

    - `key`: for the features and the points; independent of the training's.
    - `observe`: of which part of the unknown; as in [`sobng.Case`][].
    """
    if isinstance(problem, Energy):
        return Estimate(None, "An energy has no residual to estimate the error from.")
    if problem.dim not in FEATURES:
        return Estimate(
            None, f"In {problem.dim} dimensions no feature space follows the error."
        )
    try:
        shapes = _error_fields(problem, unknown, key)
    except ValueError as error:
        return Estimate(None, str(error))
    rounding, noise = _rounding(problem, unknown, args, key, observe)
    sizes, best = [], (float("inf"), float("nan"))
    for ratio in RATIOS:
        scale = BANDWIDTHS[problem.dim] * ratio
        field = _rescaled(shapes, scale)
        fit, held = _points(problem, shapes, key)
        system = _defect_system(problem, unknown, field, fit)
        watch = _defect_system(problem, unknown, field, held)
        left, size = jax.device_get(_solve_defect(system, watch, args, observe))
        sizes.append(float(size))
        best = min(best, (float(left), float(size)))
        if best[0] < ENOUGH or (rounding and len(sizes) == 3):
            break
    left, size = best
    if rounding:
        # Rounding is no smooth function, so it is never followed, but its smooth part
        # is what makes the error: the middle of three spaces.
        size = sorted(sizes)[len(sizes) // 2]
    if not jnp.isfinite(size) or (left > TRUSTED and not rounding):
        return Estimate(
            None,
            f"The estimator's features leave {left:.0%} of the residual unexplained, so "
            "that an estimate from them would be too low.",
        )
    return Estimate(float(jnp.hypot(size, noise)), "")


def _error_fields(problem: Problem, unknown: PyTree, key: jax.Array) -> PyTree:
    """For every field of the unknown, features that vanish where it is exact."""
    known = satisfied(unknown)
    parts = entries(unknown)
    widths = FEATURES[problem.dim]
    fields = {}
    for i, (name, u) in enumerate(parts.items()):
        if not callable(u):
            continue
        dim, out = sizes_of("estimate_error", u, problem.dim)
        count = round(widths / (1 if out is None else out) ** 0.5)
        fields[name] = sine_features(dim, out=out, num=count, key=jr.fold_in(key, i))
    whole = rebuild(unknown, {**parts, **fields})
    imposed = entries(impose(problem, whole))
    result = {}
    for name in fields:
        field = imposed[name]
        if isinstance(field, Constrained):
            field = Constrained(
                field.field,
                None,
                factor=field.factor,
                satisfies=field.satisfies,
                dim=problem.dim,
            )
        result[name] = field
    found = satisfied(result)
    if found != known:
        raise ValueError(
            "The exact conditions of this field were not imposed by sobng, so that no "
            "space of errors is known that obeys them."
        )
    return rebuild(unknown, result) if isinstance(unknown, dict) else result[None]


def _rescaled(fields: PyTree, scale: float) -> PyTree:
    def one(field):
        return field.rescaled(scale) if hasattr(field, "rescaled") else field

    parts = {name: one(field) for name, field in entries(fields).items()}
    return parts if isinstance(fields, dict) else parts[None]


def _zeroed(field: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf, linear: jnp.zeros_like(leaf) if linear else leaf,
        field,
        linear_leaves(field),
    )


def _points(problem, fields, key) -> tuple[Collocation, Collocation]:
    """Points to fit the error on, and random ones to see what it leaves.

    Rules up to three dimensions: at random points the roughness of a residual would
    alias into a smooth error that is not there.
    """
    moving, _ = eqx.partition(fields, linear_leaves(fields))
    num = 4 * sum(leaf.size for leaf in jax.tree.leaves(moving))

    def sampler(share):
        def draw(region, key):
            return Sobol(max(64, share // (4 if region.is_boundary else 1)))(
                region, key
            )

        return draw

    fit, held = jr.split(jr.fold_in(key, 99))
    rule = None if problem.dim <= 3 else sampler(num)
    return (
        discretise(problem, num, sampler=rule, key=fit),
        discretise(problem, num, sampler=sampler(num // 4), key=held),
    )


def _defect_system(problem, unknown, fields, points) -> System:
    """The problem for `unknown + e`, in which only the last layers of `e` move."""
    fields = _zeroed(fields)
    together = add(unknown, fields, 1.0)
    blank = jax.tree.map(lambda _: False, together)
    if isinstance(together, dict):
        moves = {
            name: eqx.tree_at(lambda p: p.v, blank[name], linear_leaves(fields[name]))
            if name in fields
            else blank[name]
            for name in together
        }
    else:
        moves = eqx.tree_at(lambda p: p.v, blank, linear_leaves(fields))
    return System(problem, together, points, moves=moves)


def _balance(jacobian, sizes):
    """A weight for each row that makes the blocks of all conditions equally large.

    Unbalanced, a boundary value weighs as little beside a second derivative as its
    square wavelength, and an error that comes in through the boundary is not seen.
    """
    blocks = jnp.split(jacobian, np.cumsum(sizes)[:-1])
    norms = jnp.stack([jnp.linalg.norm(block) for block in blocks])
    tiny = jnp.finfo(jacobian.dtype).tiny
    weights = jnp.max(norms) / jnp.maximum(norms, tiny)
    return jnp.repeat(
        weights, np.asarray(sizes), total_repeat_length=sum(sizes)
    ), weights


@eqx.filter_jit
def _solve_defect(system: System, watch: System, args: Any, observe: Any):
    """The left-over part of the residual on other points, and the relative error."""
    params = system.params
    jacobian = system.jacobian(params, args)
    residual = system.residual(params, args)
    rows, blocks = _balance(jacobian, system.block_sizes(args))
    jacobian, residual = rows[:, None] * jacobian, rows * residual
    scale = jnp.linalg.norm(jacobian, axis=0)
    scale = jnp.maximum(scale, jnp.finfo(jacobian.dtype).tiny)
    stacked = jnp.concatenate([jacobian / scale[None], residual[:, None]], axis=1)
    reduced = jnp.linalg.qr(stacked, mode="r")[: jacobian.shape[1]]
    left, singular, right = jnp.linalg.svd(reduced[:, :-1], full_matrices=False)
    kept = singular > 1e-11 * singular[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    change = -(right.T @ (inverse * (left.T @ reduced[:, -1]))) / scale
    flat, unravel = jfu.ravel_pytree(params)
    sizes = watch.block_sizes(args)
    seen = jnp.repeat(blocks, np.asarray(sizes), total_repeat_length=sum(sizes))
    before = seen * watch.residual(params, args)
    # The linearised residual, exact to rounding also where the problem is not linear.
    _, slope = jax.jvp(
        lambda p: seen * watch.residual(p, args), (params,), (unravel(change),)
    )
    leftover = jnp.linalg.norm(before + slope) / jnp.linalg.norm(before)
    points, weights = _interior(watch)
    look = observed(observe)
    new = watch.unknown(unravel(flat + change))
    error = jax.vmap(lambda x: look(_part(new, "v"), x))(points)
    total = jax.vmap(lambda x: look(new, x))(points)
    return leftover, _norm(error, weights) / _norm(total, weights)


def _norm(values, weights):
    """The L2 norm of values at points, by quadrature."""
    values = values.reshape(values.shape[0], -1)
    return jnp.sqrt(jnp.sum(weights[:, None] * values**2))


@eqx.filter_jit
def _rough_part(system: System, args: Any, observe: Any, key: jax.Array):
    """The error of a residual too rough for any features: its size, over the symbol of
    the linearised operator at its own wavelength.

    The wavelength is that of `|grad r| / |r|`; the symbol is taken on random waves of
    that length.
    """
    u = system.unknown(system.params)
    inside = [c for c in system.problem.conditions if not c.region.is_boundary]
    points, weights = _interior(system)
    points, weights = points[:256], weights[:256]

    def residual(v, x):
        values = [
            jnp.sqrt(jnp.asarray(c.weight, x.dtype)) * jnp.ravel(c.residual(v, x, args))
            for c in inside
        ]
        return jnp.concatenate(values)

    r = jax.vmap(lambda x: residual(u, x))(points)
    slopes = jax.vmap(jax.jacfwd(lambda x: residual(u, x)))(points)
    lower, upper = (jnp.asarray(b, points.dtype) for b in system.problem.domain.bounds)
    half = (upper - lower) / 2
    # One number for each axis, in units of half the box.
    wave = half * jnp.sqrt(jnp.mean(jnp.sum(slopes**2, axis=1), axis=0))
    wave = wave / jnp.sqrt(jnp.mean(jnp.sum(r**2, axis=1)))
    look = observed(observe)

    def amplification(key):
        phase_key, sign_key, mix_key = jr.split(key, 3)
        signs = jr.rademacher(sign_key, wave.shape, wave.dtype)

        def fluctuation(name, field, i):
            shape = jax.eval_shape(field, points[0]).shape
            mix = jr.normal(jr.fold_in(mix_key, i), shape, points.dtype)
            shift = jr.uniform(
                jr.fold_in(phase_key, i), (), points.dtype, 0, 2 * jnp.pi
            )
            return lambda x: (
                mix * jnp.sin(jnp.sum(signs * wave * (x - lower) / half) + shift)
            )

        parts = {
            name: fluctuation(name, field, i)
            for i, (name, field) in enumerate(entries(u).items())
            if callable(field)
        }
        v = parts if isinstance(u, dict) else parts[None]

        def change(x):
            zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
            return jax.jvp(lambda s: residual(add(u, v, s), x), (zero,), (one,))[1]

        def seen(x):
            zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
            return jax.jvp(lambda s: look(add(u, v, s), x), (zero,), (one,))[1]

        size = _norm(jax.vmap(seen)(points), weights)
        return size, _norm(jax.vmap(change)(points), weights)

    sizes, changes = jax.vmap(amplification)(jr.split(key, 8))
    total = _norm(jax.vmap(lambda x: look(u, x))(points), weights)
    symbol = jnp.sqrt(jnp.sum(changes**2) / jnp.sum(sizes**2))
    return _norm(r, weights) / symbol / total, jnp.linalg.norm(wave)


def _part(unknown, which):
    """The summand `u` or `v` of every sum; entries without one stay."""
    parts = {k: getattr(v, which, v) for k, v in entries(unknown).items()}
    return parts if isinstance(unknown, dict) else parts[None]


def _interior(system: System):
    for condition in system.problem.conditions:
        if not condition.region.is_boundary:
            name = condition.name
            return system.collocation.points[name], system.collocation.weights[name]
    name = system.names[0]
    return system.collocation.points[name], system.collocation.weights[name]


def _rounding(problem, unknown, args, key, observe) -> tuple[bool, float]:
    """Whether the residual is rounding, and the rounding of the values themselves."""
    points = discretise(
        problem, 512, sampler=lambda r, k: Sobol(256)(r, k), key=jr.fold_in(key, 7)
    )
    system = System(problem, unknown, points)
    ratio, noise = jax.device_get(_perturb(system, args, key, observe))
    return bool(ratio < ROUNDING), float(noise)


@eqx.filter_jit
def _perturb(system: System, args: Any, key: jax.Array, observe: Any):
    flat, unravel = jfu.ravel_pytree(system.params)
    eps = jnp.finfo(flat.dtype).eps
    small = jnp.sqrt(eps)
    noise = jr.uniform(key, flat.shape, flat.dtype, -1, 1)
    moved = unravel(flat * (1 + small * noise))
    residual = system.residual(system.params, args)
    change = jnp.linalg.norm(system.residual(moved, args) - residual) * (eps / small)
    points, _ = _interior(system)
    look = observed(observe)
    values = jax.vmap(lambda x: look(system.unknown(system.params), x))(points)
    others = jax.vmap(lambda x: look(system.unknown(moved), x))(points)
    drift = jnp.linalg.norm(others - values) / jnp.linalg.norm(values) * (eps / small)
    tiny = jnp.finfo(flat.dtype).tiny
    return jnp.linalg.norm(residual) / jnp.maximum(change, tiny), drift
