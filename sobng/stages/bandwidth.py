"""Linear stages: solving for the last layer, and choosing the bandwidth before it."""

import functools as ft
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.collocation import Collocation
from sobng.fields.partition import combine, linear_leaves, with_bandwidth
from sobng.linalg.triangle import Triangle
from sobng.search.radius import RadiusSearch
from sobng.solvers.adaptor import bind, init_solver, loss_of, run_steps
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.features import LOW
from sobng.stages.stage import Context
from sobng.system import System


RATIO = 1.5
"""Between two bandwidths that are tried."""

MANY = 2.0
"""The same beyond three dimensions, where the best one may be far below the first: features
of a small bandwidth span the polynomials, which the smoothest solutions need."""

FINER = (2**-0.5, 2**0.5, 2**-0.25, 2**0.25)
"""Then these times the best one so far, in turn."""

NEAR, CLIMBS = 2**0.25, 4
"""Between the bandwidths that are tried near one which is nearly the best, and how far."""

FAIR = 1e-6
"""Below this relative residual the bandwidth does not matter."""

FOLLOWED = 1e-3
"""The part of the held-out loss below which features follow a solution, if only roughly."""


def undamped(dim: int) -> GaussNewton:
    """Starts with the full step, which solves a linear problem at once."""
    search = RadiusSearch(initial=math.inf, patience=2)
    # A spectrum of so many features is dear, and a linear problem does not need it.
    triangle = Triangle() if dim > LOW else None
    return GaussNewton(search=search, factorisation=triangle)


def blanked(unknown: PyTree) -> PyTree:
    """The unknown with its linear leaves at zero."""
    return jax.tree.map(
        lambda leaf, linear: jnp.zeros_like(leaf) if linear else leaf,
        unknown,
        linear_leaves(unknown),
    )


def relative_residual(
    problem: Any, unknown: PyTree, points: Collocation, args: Any
) -> float:
    """The residual on some points over that of the unknown with zero coefficients."""

    def loss(unknown):
        watch = System(problem, unknown, points)
        return float(loss_of(watch, watch.params, args))

    left, whole = loss(unknown), loss(blanked(unknown))
    if not math.isfinite(left):
        return math.inf
    return math.sqrt(left / whole) if whole > 0 else 0.0


def followed(context: Context, unknown: PyTree) -> bool:
    """Whether features took all but a part of the held-out loss away."""
    left = relative_residual(context.problem, unknown, context.held_out, context.args)
    return left**2 <= FOLLOWED


def solved(context: Context, unknown: PyTree, steps: int) -> tuple[PyTree, float]:
    """The unknown after some steps of its last layer, and its held-out loss."""
    solver = undamped(context.problem.dim)
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
        if context.out_of_time():
            break
        last = loss
    score = float(loss_of(watch, params, context.args))
    return combine(params, system.rest), score if math.isfinite(score) else math.inf


def best_bandwidth(context: Context, blank: PyTree, start: float) -> PyTree:
    """Climbs from a bandwidth as long as the held-out loss falls, else goes down."""
    watch = System(context.problem, blank, context.held_out)
    blank_score = float(loss_of(watch, watch.params, context.args))
    goal = 1e-26 * blank_score
    many = context.problem.dim > LOW
    step, least = (MANY, 1e-4) if many else (RATIO, 0.3)

    def attempt(scale):
        return solved(context, with_bandwidth(blank, scale), 12)

    best, score = attempt(start)
    top, width = score, start
    for ratio in (step, 1 / step):
        scale, failures = start, 0
        if ratio < 1 and score < top:
            break
        while failures < 2 and score > goal and least < scale < 400:
            if context.out_of_time():
                return best
            scale *= ratio
            found, new = attempt(scale)
            failures = 0 if new < score else failures + 1
            if new < score:
                best, score, width = found, new, scale
    # What features still leave wants the best bandwidth, and more of them at the same.
    for ratio in FINER if many and score > FAIR**2 * blank_score else ():
        if context.out_of_time():
            break
        scale = ratio * width
        found, new = attempt(scale)
        if new < score:
            best, score, width = found, new, scale
    return best


def near_bandwidth(context: Context, blank: PyTree) -> PyTree:
    """The unknown of the best bandwidth near its own, still to be solved for: where a
    parabola through the logarithms of the least held-out loss and its neighbours is least."""

    @ft.cache
    def score(power):
        found = solved(context, with_bandwidth(blank, NEAR**power), 12)[1]
        return math.log(max(found, sys.float_info.min))

    power = 0
    for _ in range(CLIMBS):
        if context.out_of_time():
            return with_bandwidth(blank, NEAR**power)
        best = min((power, power + 1, power - 1), key=score)
        if best == power:
            break
        power = best
    else:
        return with_bandwidth(blank, NEAR**power)
    left, least, right = (score(power + i) for i in (-1, 0, 1))
    bend = left - 2 * least + right
    shift = (left - right) / (2 * bend) if 0 < bend < math.inf else 0.0
    return with_bandwidth(blank, NEAR ** (power + shift))
