"""Linear stages: solving for the last layer, and choosing the bandwidth before it."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.partition import combine, linear_leaves, with_bandwidth
from sobng.search.radius import RadiusSearch
from sobng.solvers.adaptor import bind, init_solver, loss_of, run_steps
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.stage import Context
from sobng.system import System


RATIO = 1.5
"""Between two bandwidths that are tried."""


def undamped() -> GaussNewton:
    """Starts with the full step, which solves a linear problem at once."""
    return GaussNewton(search=RadiusSearch(initial=math.inf, patience=2))


def blanked(unknown: PyTree) -> PyTree:
    """The unknown with its linear leaves at zero."""
    return jax.tree.map(
        lambda leaf, linear: jnp.zeros_like(leaf) if linear else leaf,
        unknown,
        linear_leaves(unknown),
    )


def solved(context: Context, unknown: PyTree, steps: int) -> tuple[PyTree, float]:
    """The unknown after some steps of its last layer, and its held-out loss."""
    solver = undamped()
    moves = linear_leaves(unknown)
    system = System(context.problem, unknown, context.training, moves=moves)
    watch = System(context.problem, unknown, context.held_out, moves=moves)
    params = system.params
    solver = bind(solver, system)
    state = init_solver(solver, system, params, context.args)
    last = math.inf
    for _ in range(steps):
        params, state, look = run_steps(solver, system, params, state, context.args, 1)
        loss = float(look.loss)
        # A ratio of one means that the problem is linear and so is solved.
        if not loss < 0.3 * last or abs(float(look.ratio) - 1) < 1e-6:
            break
        last = loss
    score = float(loss_of(watch, params, context.args))
    return combine(params, system.rest), score if math.isfinite(score) else math.inf


def best_bandwidth(context: Context, blank: PyTree, start: float) -> PyTree:
    """Climbs from a bandwidth as long as the held-out loss falls, else goes down."""
    watch = System(context.problem, blank, context.held_out)
    blank_score = float(loss_of(watch, watch.params, context.args))
    goal = 1e-26 * blank_score

    def attempt(scale):
        return solved(context, with_bandwidth(blank, scale), 12)

    best, score = attempt(start)
    top = score
    for ratio in (RATIO, 1 / RATIO):
        scale, failures = start, 0
        if ratio < 1 and score < top:
            break
        while failures < 2 and score > goal and 0.3 < scale < 400:
            if context.out_of_time():
                return best
            scale *= ratio
            found, new = attempt(scale)
            failures = 0 if new < score else failures + 1
            if new < score:
                best, score = found, new
    return best
