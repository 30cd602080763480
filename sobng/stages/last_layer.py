"""The stage in which only the leaves move that act linearly on the field."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.partition import combine, linear_leaves, with_bandwidth
from sobng.problem import Energy
from sobng.search.radius import RadiusSearch
from sobng.solvers.adaptor import init_solver, loss_of, run_steps
from sobng.solvers.gauss_newton import GaussNewton
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.stages.features import start_bandwidth
from sobng.stages.stage import AbstractStage, Context
from sobng.system import System


class LastLayer(AbstractStage):
    """Only the last layer moves: least squares if the problem is linear, else a few
    Gauss-Newton steps on fixed features.

    First the bandwidth of the first layer is chosen: a few such solves, scored on
    residuals at points that they have not seen. Up to three dimensions; beyond, random
    features fail and the stage is skipped.

    !!! example

        ```python
        import sobng as sn

        sn.LastLayer(bandwidth=False)
        ```
    """

    bandwidth: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, bandwidth: bool = True, max_steps: int | None = 40):
        """**Arguments:**

        - `bandwidth`: whether the first layer is rescaled.
        - `max_steps`: the most steps; a linear problem needs two or three.
        """
        self.bandwidth = bandwidth
        self.name = "last-layer"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        if context.problem.dim > 3:
            return False
        moving, _ = eqx.partition(context.unknown, linear_leaves(context.unknown))
        size = sum(leaf.size for leaf in jax.tree.leaves(moving))
        # Few features end at an ill-conditioned optimum from which nothing moves on.
        return size >= ENOUGH

    def begin(self, context):
        if isinstance(context.problem, Energy):
            return context.unknown
        blank = _blank(context.unknown)
        if not self.bandwidth:
            return blank
        return _best_bandwidth(context, blank)

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        if isinstance(context.problem, Energy):
            return NaturalGradient()
        return _undamped()


def _undamped() -> GaussNewton:
    """Starts with the full step, which solves a linear problem at once."""
    return GaussNewton(search=RadiusSearch(initial=math.inf, patience=2))


def _blank(unknown: PyTree) -> PyTree:
    """The unknown with its linear leaves at zero."""
    return jax.tree.map(
        lambda leaf, linear: jnp.zeros_like(leaf) if linear else leaf,
        unknown,
        linear_leaves(unknown),
    )


def _solved(context: Context, unknown: PyTree, steps: int) -> tuple[PyTree, float]:
    """The unknown after some steps of its last layer, and its held-out loss."""
    solver = _undamped()
    moves = linear_leaves(unknown)
    system = System(context.problem, unknown, context.training, moves=moves)
    watch = System(context.problem, unknown, context.held_out, moves=moves)
    params = system.params
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


ENOUGH = 128
"""Fewer features than this are better trained than chosen."""

RATIO = 1.5
"""Between two bandwidths that are tried."""


def _best_bandwidth(context: Context, blank: PyTree) -> PyTree:
    """Climbs from a middling bandwidth as long as the held-out loss falls, else down."""
    start = start_bandwidth(context.problem.dim) if context.owned else 1.0
    watch = System(context.problem, blank, context.held_out)
    blank_score = float(loss_of(watch, watch.params, context.args))
    goal = 1e-26 * blank_score

    def attempt(scale):
        return _solved(context, with_bandwidth(blank, scale), 12)

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
