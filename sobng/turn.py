"""The steps of one stage: what moves, by which solver, on the points of the run."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.partition import combine
from sobng.points import Points
from sobng.problem import Energy
from sobng.resume import Saved
from sobng.solvers.adaptor import (
    adapt,
    bind,
    init_solver,
    Look,
    on_other_points,
    run_steps,
)
from sobng.stages.stage import AbstractStage, Context
from sobng.system import System


class Turn:
    """One stage at work on its unknown, and the best parameters that it has found."""

    begun: int
    """The step at which the stage began."""
    sizes: tuple[int, int]
    """Parameters and rows."""

    def __init__(
        self, stage: AbstractStage, context: Context, points: Points, step: int
    ):
        """**Arguments:**

        - `context`: with the unknown to start from.
        - `points`: of the run; what this stage asks of them it does here.
        - `step`: of the run.
        """
        self.stage, self.points = stage, points
        self.problem, self.args = context.problem, context.args
        self.unknown = context.unknown
        self.solver, self.steps = adapt(stage.solver(context))
        self.moves = stage.moves(context)
        self.fresh = getattr(stage, "fresh", None)
        self.follows = getattr(stage, "follows", False)
        self.marches = getattr(stage, "marches", False)
        self.begun = step
        if self.follows:
            points.follow_values(step, self.unknown, self.args)
        self._settle()
        self.params: PyTree = self.system.params
        self.state = init_solver(self.bound, self.system, self.params, self.args)
        self.best, self.best_loss = self.params, math.inf
        self.marks: list[tuple[int, float]] = []

    def _settle(self) -> None:
        """Puts unknown and solver on the points that there are now."""

        def on(points):
            return System(self.problem, self.unknown, points, moves=self.moves)

        self.system, self.watch = on(self.points.training), on(self.points.held_out)
        self.bound = bind(self.solver, self.system)
        self.sizes = (self.system.num_params, self.system.rows(self.args))

    @property
    def now(self) -> PyTree:
        """The unknown with the parameters that the last step has come to."""
        return combine(self.params, self.system.rest)

    @property
    def arrays(self) -> tuple[PyTree, ...]:
        """What a checkpoint keeps of it."""
        return self.unknown, self.params, self.state, self.best

    def resume(self, saved: Saved, arrays: tuple[PyTree, ...]) -> None:
        """Goes on where a run was killed."""
        self.unknown, self.params, self.state, self.best = arrays
        self.best_loss, self.begun = saved.best_loss, saved.begun
        self.marks = list(saved.marks)
        self.points.follow(self.unknown)
        if self.follows:
            self.points.follow_values(saved.step, self.now, self.args)
        elif saved.drawn:
            self.points.draw(saved.drawn)
        self._settle()

    def advance(self, step: int) -> Look:
        """Moves to a step of the run: one further, or some by a first-order method."""
        self.params, self.state, look = run_steps(
            self.bound, self.system, self.params, self.state, self.args, self.steps
        )
        look = jax.device_get(look)
        loss = float(look.loss)
        if not math.isfinite(loss):
            return look
        # Losses on other points or in other slabs are not compared.
        if loss <= self.best_loss or self.fresh or self.marches:
            self.best, self.best_loss = self.params, loss
        if bool(look.accepted) or not isinstance(self.problem, Energy):
            self.marks.append((step, loss))
        return look

    def refine(self) -> None:
        """Doubles the points and starts anew from where it is."""
        self.unknown = self.now
        self.points.enlarge(self.points.level + 1)
        self._settle()
        self.state = init_solver(self.bound, self.system, self.params, self.args)
        self.best_loss, self.marks = math.inf, []

    def renew(self, step: int) -> None:
        """Takes other points after a step, as many, where the stage asks for them."""
        # A foreign solver takes many steps at once.
        if not self.fresh or step // self.fresh == (step - self.steps) // self.fresh:
            return
        if self.follows:
            self.points.follow_values(step, self.now, self.args)
        else:
            self.points.draw(step)
        self.system = self.system.with_points(self.points.training)
        self.bound = bind(self.solver, self.system)
        self.state = on_other_points(
            self.bound, self.system, self.params, self.state, self.args
        )

    @property
    def stale(self) -> bool:
        """Whether the loss has not halved in the last `patience` steps; an energy, whose
        least value is not zero, has not fallen by more than rounding."""
        # A first-order rival crawls for long and still arrives: only limits end it.
        if self.steps > 1 or not self.marks:
            return False
        step, loss = self.marks[-1]
        patience = self.stage.patience
        before = [value for at, value in self.marks if at <= step - patience]
        if not before:
            return False
        if isinstance(self.problem, Energy):
            eps = float(jnp.finfo(self.system.collocation.dtype).eps)
            return before[-1] - loss <= eps * abs(loss)
        return loss > 0.5 * before[-1] - 1e-300 and before[-1] >= 0
