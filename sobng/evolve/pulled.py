"""A field whose values at the points are pulled to a target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.evolve.moving import Moving
from sobng.linalg.spectrum import least_squares_spectrum


DAMPINGS = tuple(10.0**-k for k in range(1, 10))
"""Of the corrections that are tried, relative to the largest singular value."""

HEAVY = 10.0
"""The weight of boundary rows: heavier ones let no correction through that is not small."""


class Pull(NamedTuple):
    """What corrections have come to; the last three relative to the target."""

    state: Float[Array, " params"]
    count: Any  # corrections that were taken
    left: Any  # what more of them would change
    before: Any  # the mismatch of the guess
    after: Any


def implicit_goal(motion: Moving, t: Any, step: Any, args: Any) -> Callable:
    """`u - step F(u)` of a field, as a function of a point."""

    def goal(u):
        rhs = lambda x: jnp.asarray(motion.evolution.rhs(u, t, x, args), x.dtype)
        return lambda x: u(x) - step * rhs(x)

    return goal


def pulled(
    motion: Moving,
    t: Any,
    goal: Callable[[PyTree], Callable],
    target: Float[Array, " rows"],
    guess: Float[Array, " params"],
    args: Any,
    *,
    corrections: int,
    tolerance: float,
) -> Pull:
    """The parameters for which the goal of a field is nearest to the target.

    By damped Gauss-Newton corrections in the metric of the motion, with boundary
    conditions as rows. Each is tried with several dampings, by one factorisation; the one
    that leaves least is taken, and none where all leave more.

    **Arguments:**

    - `goal`: from a field to the function of a point that is to meet the target.
    - `target`: what the metric sees of it at the points, not weighted.
    - `corrections`: the most of them.
    - `tolerance`: what more of them may change at the end, relative to the target.
    """
    kind = guess.dtype
    scale, tiny = motion.scale, jnp.finfo(kind).tiny
    size = jnp.maximum(jnp.linalg.norm(scale * target), tiny)
    enough = max(tolerance, 1e2 * float(jnp.finfo(kind).eps))
    moved = lambda y: goal(motion.field(t, y, args))

    def residual(y):
        miss = scale * (motion.rows(moved(y)) - target)
        if not motion.conditions:
            return miss
        return jnp.concatenate([miss, HEAVY * motion.missed(t, y, args)])

    def jacobian(y):
        matrix = scale[:, None] * motion.jacobian(moved, y)
        if not motion.conditions:
            return matrix
        wall = jax.jacrev(lambda y: motion.missed(t, y, args))(y)
        return jnp.concatenate([matrix, HEAVY * wall])

    def correct(carry):
        y, miss, before, _, count = carry
        model = least_squares_spectrum(jacobian(y), miss)
        top = jnp.maximum(jnp.max(model.curvature), tiny)
        dampings = top * jnp.asarray(DAMPINGS, kind) ** 2
        moves = jax.vmap(model.step)(dampings)
        found = jax.lax.map(lambda d: jnp.sum(residual(y + d) ** 2), moves)
        found = jnp.where(jnp.isfinite(found), found, jnp.inf)
        best, old = jnp.argmin(found), jnp.sum(miss**2)
        gained = found[best] < old
        y = jnp.where(gained, y + moves[best], y)
        change = jnp.sqrt(jnp.maximum(old - found[best], 0)) / size
        # Corrections shrink at least as fast as the last one did; what a damped one
        # leaves of the decrease within reach is left too.
        left = change * jnp.minimum(change / jnp.maximum(before, tiny), 1)
        within = 2 * model.decrease(dampings[-1]) - (
            old - jnp.minimum(found[best], old)
        )
        left = left + jnp.sqrt(jnp.maximum(within, 0)) / size
        return y, residual(y), change, left, count + jnp.where(gained, 1, 0)

    def more(carry):
        _, _, change, left, count = carry
        return (change > 0) & (left > enough) & (count < corrections)

    first = residual(guess)
    begun = (guess, first, jnp.ones((), kind), jnp.full((), jnp.inf, kind), 0)
    y, last, _, left, count = jax.lax.while_loop(more, correct, begun)
    relative = lambda miss: jnp.linalg.norm(miss) / size
    return Pull(y, count, left, relative(first), relative(last))
