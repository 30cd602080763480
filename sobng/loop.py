"""The host loop of `solve`: stages, steps, limits, records."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.clock import Clock
from sobng.error import Estimate, estimate_error
from sobng.exact import normalised
from sobng.fields.partition import combine, linear_leaves
from sobng.points import Points
from sobng.problem import Energy, Problem
from sobng.records import history_of, Record
from sobng.results import RESULTS
from sobng.resume import Done, Resumer, Saved
from sobng.settings import Settings
from sobng.solution import Solution
from sobng.solvers.adaptor import Look, loss_of
from sobng.stages.bandwidth import relative_residual
from sobng.stages.features import LOW
from sobng.stages.stage import AbstractStage, Context
from sobng.system import System
from sobng.tangent.watch import watched
from sobng.turn import Turn


MAX_LEVEL = 2
"""How often points are doubled at most."""

CROWD, THINNED = 4, 2 / 3
"""How many times the parameters of the first stage have as many times the points, and the
part of that beyond: two points instead of three for each save a third of the time and make
an error a fifth larger; an eighth more of both, in the same time, make it smaller."""

FIRST_ESTIMATE = 25
"""Steps before the error is first estimated; then after as many again, and so on."""

OVERFIT = 30.0
"""Held-out over training loss (both integrals) above which points are added."""


def reachable(dtype) -> float:
    """The least relative error that a precision allows to ask for."""
    return 10 * float(jnp.finfo(dtype).eps)


def _num_linear(unknown: PyTree) -> int:
    """How many numbers act linearly."""
    moving, _ = eqx.partition(unknown, linear_leaves(unknown))
    return sum(leaf.size for leaf in jax.tree.leaves(moving))


class Loop:
    """Runs stages one after the other; holds what changes while a solve goes on."""

    def __init__(
        self,
        problem: Problem | Energy,
        unknown: PyTree,
        args: Any,
        points: Points,
        stages: Sequence[AbstractStage],
        settings: Settings,
        key: jax.Array,
        owned: bool,
    ):
        self.problem = problem
        self.unknown = unknown
        self.args = args
        self.points = points
        self.stages = stages
        self.settings = settings
        self.key = key
        self.owned = owned
        self.dtype = points.plan.dtype_of(unknown)
        least = reachable(self.dtype)
        if settings.tolerance is not None and settings.tolerance < least:
            raise ValueError(
                f"A tolerance of {settings.tolerance:.1e} cannot be reached in "
                f"{jnp.dtype(self.dtype).name}, whose least is {least:.1e}. Call "
                "`sobng.enable_x64()` first, or ask for less."
            )
        self.tolerance = least if settings.tolerance is None else settings.tolerance
        self.linear = _num_linear(unknown)
        points.follow(unknown)
        self.clock = Clock()
        self.records: list[Record] = []
        self.step = 0
        self.estimated = 0
        self.done: dict[int, Done] = {}
        self.score: float | None = None
        self.estimate = Estimate(None, "No estimate was made yet.")
        # Ours, but the members that it inherits are optimistix' to a type checker.
        self.result: Any = RESULTS.successful
        self.sizes = (0, 0)
        names = [stage.name for stage in stages]
        self.resumer = Resumer(
            settings.checkpoint,
            unknown,
            args,
            key,
            points.training,
            names,
            eqx.tree_pformat((problem, unknown)),
        )
        self._restore(self.resumer.saved)

    def _restore(self, saved: Saved | None) -> None:
        if saved is None:
            return
        self.step = saved.step
        self.estimated = saved.estimated
        self.points.enlarge(saved.level)
        self.score = saved.score
        self.records = list(saved.records)
        self.done = {done.number: done for done in saved.done}
        self.clock = Clock(saved.seconds, saved.compile_seconds)

    def run(self) -> Solution:
        """All stages, up to the limits."""
        self.clock.start()
        try:
            saved = self.resumer.saved
            for number, stage in enumerate(self.stages):
                context = self._context(number)
                if saved is not None and number < saved.stage:
                    done = self.done.get(number)
                    if done is not None and done.kept:
                        self.unknown = stage.prepare(context)
                    continue
                resumed = saved is not None and number == saved.stage
                if not (resumed or stage.wanted(context)):
                    continue
                self._stage(number, stage, context, saved if resumed else None)
                if self.estimated != self.step or not self.step:
                    self._estimate(self.unknown)
                if self._ended():
                    break
        except KeyboardInterrupt:
            self.result = RESULTS.interrupted
            if self.estimated != self.step:
                self.estimate = Estimate(None, "The run was interrupted before one.")
        finally:
            self.clock.stop()
        return self._solution()

    def _context(self, number: int) -> Context:
        # A stage that resumes is to decide as it did when it was entered.
        entered = self.done.get(number)
        return Context(
            problem=self.problem,
            unknown=self.unknown,
            args=self.args,
            training=self.points.training,
            held_out=self.points.held_out,
            key=jax.random.fold_in(self.key, number),
            tolerance=self.tolerance,
            asked=self.settings.tolerance is not None,
            error=entered.error if entered else self.estimate.error,
            residual=self._residual(),
            owned=self.owned,
            done=tuple(d.name for d in self.done.values() if d.number < number),
            points=self.points.graded,
            out_of_time=self._out_of_time,
        )

    def _stage(
        self,
        number: int,
        stage: AbstractStage,
        context: Context,
        saved: Saved | None,
    ) -> None:
        before, estimate = self.unknown, self.estimate
        if saved is None:
            self.done[number] = Done(
                number, stage.name, estimate.error, estimate.reason, self.sizes
            )
        try:
            self.unknown = stage.prepare(context)
            if saved is None:
                if not getattr(stage, "marches", False):
                    self._keep_share(getattr(stage, "share", None))
                self.unknown = stage.begin(self._seen(context))
                self._follow(before)
            turn = Turn(stage, self._seen(context), self.points, self.step)
            if saved is not None:
                before, *arrays = self.resumer.arrays((before, *turn.arrays))
                turn.resume(saved, tuple(arrays))
                self.estimate = Estimate(saved.error, saved.reason)
        except KeyboardInterrupt:
            self.unknown = before  # what was prepared has learnt nothing yet
            raise
        try:
            while True:
                look = turn.advance(self.step + turn.steps)
                self.step += turn.steps
                if not math.isfinite(float(look.loss)):
                    self.result = RESULTS.nonfinite
                    break
                overfits = self._look(turn, look)
                if overfits:
                    turn.refine()
                else:
                    turn.renew(self.step)
                if self.resumer.due(self.step):
                    now = self._saved(number, turn)
                    self.resumer.write(now, (before, *turn.arrays))
                if (bool(look.done) and not overfits) or self._over(turn, look):
                    break
        finally:
            self.sizes = turn.sizes
            self._keep_better(number, before, turn)

    def _seen(self, context: Context) -> Context:
        """What a stage is given, with its unknown as it is now and the points for it."""
        return dataclasses.replace(
            context, unknown=self.unknown, training=self.points.training
        )

    def _follow(self, scored: PyTree = None) -> None:
        """Lets the points follow the unknown; the score of another is then one on these."""
        moved = self.points.follow(self.unknown)
        if moved and scored is not None and self.score is not None:
            watch = System(self.problem, scored, self.points.held_out)
            self.score = float(loss_of(watch, watch.params, self.args))

    def _keep_share(self, share: int | None) -> None:
        """More points for a field that a stage enlarged: as many rows for each number as
        the stage asks for, else in proportion up to `CROWD`."""
        if share is not None:
            now = System(self.problem, self.unknown, self.points.training)
            lack = share * now.num_params / max(1, now.rows(self.args))
            if lack > 1 and self.points.refinable:
                self.points.enlarge(self.points.level + round(math.log2(lack), 1))
            return
        grown = _num_linear(self.unknown) / max(1, self.linear)
        grown *= THINNED if grown > CROWD else 1
        level = round(math.log2(grown), 1) if grown > 1 else 0
        if level > self.points.level and self.points.refinable:
            self.points.enlarge(level)

    def _keep_better(self, number: int, before: PyTree, turn: Turn) -> None:
        """Undoes a stage that made the held-out loss larger than the stage before it."""
        self.unknown = combine(turn.best, turn.system.rest)
        if isinstance(self.problem, Energy):
            return
        score = float(loss_of(turn.watch, turn.best, self.args))
        if self.score is None or score <= self.score:
            self.score = score
        elif math.isfinite(self.score):
            done = self.done[number]
            self.unknown = before
            self._follow(before)
            self.sizes = done.sizes
            self.done[number] = dataclasses.replace(done, kept=False)
            self.estimate, self.estimated = Estimate(done.error, done.reason), self.step

    def _saved(self, number: int, turn: Turn) -> Saved:
        return Saved(
            stage=number,
            step=self.step,
            estimated=self.estimated,
            begun=turn.begun,
            level=self.points.level,
            drawn=self.points.drawn,
            score=self.score,
            error=self.estimate.error,
            reason=self.estimate.reason,
            best_loss=turn.best_loss,
            seconds=self.clock.seconds,
            compile_seconds=self.clock.compile_seconds,
            done=tuple(self.done.values()),
            marks=tuple(turn.marks),
            records=tuple(self.records),
        )

    def _residual(self) -> float | None:
        """The held-out residual over that of a field which is zero, where no error is
        estimated."""
        problem = self.problem
        if self.score is None or problem.dim <= LOW or isinstance(problem, Energy):
            return None
        return relative_residual(problem, self.unknown, self.points.held_out, self.args)

    def _look(self, turn: Turn, look: Look) -> bool:
        """Records one look; whether the run over-fits and may be given more points."""
        loss = float(look.loss)
        held_out = float(loss_of(turn.watch, turn.params, self.args))
        limit = self.settings.time_limit
        seconds = self.clock.seconds
        last = self.records[-1] if self.records else None
        missed = watched(
            float(look.projection_error),
            turn.system,
            turn.params,
            self.args,
            last,
            (turn.stage.name, self.step),
        )
        record = Record(
            stage=turn.stage.name,
            step=self.step,
            loss=loss,
            held_out=held_out,
            error=self.estimate.error,
            seconds=seconds,
            seconds_left=None if limit is None else max(0.0, limit - seconds),
            damping=float(look.damping),
            accepted=bool(look.accepted),
            projection_error=missed,
        )
        self.records.append(record)
        for callback in self.settings.callbacks:
            callback(record)
        if isinstance(self.problem, Energy) or not self.points.refinable:
            return False
        if turn.marches:
            return False
        scale = float(jnp.finfo(self.dtype).eps) ** 1.5
        spread = held_out > OVERFIT * loss and held_out > scale * self.records[0].loss
        now = self.step % 20 == 0 or bool(look.done)
        return spread and now and self.points.level < MAX_LEVEL

    def _over(self, turn: Turn, look: Look) -> bool:
        """Whether a stage has nothing more to do, or may do no more."""
        # A ratio of one: the problem is linear, and this was its solution.
        linear = turn.moves is not None and self.problem.dim > LOW
        if linear and abs(float(look.ratio) - 1) < 1e-6:
            return True
        if not turn.marches and self._good_enough(turn):
            return True
        return self._limit(turn) or turn.stale

    def _good_enough(self, turn: Turn) -> bool:
        """Estimates the error now and then, ever more rarely; whether it will do."""
        since = self.step - self.estimated
        if turn.steps > 1 or since < max(FIRST_ESTIMATE, self.estimated):
            return False
        self._estimate(turn.now)
        error = self.estimate.error
        return error is not None and error <= self.tolerance

    def _limit(self, turn: Turn) -> bool:
        if self.step >= self.settings.max_steps:
            self.result = RESULTS.nonlinear_max_steps_reached
            return True
        if self._out_of_time():
            self.result = RESULTS.time_limit_reached
            return True
        most = turn.stage.max_steps
        return most is not None and self.step - turn.begun >= most

    def _out_of_time(self) -> bool:
        limit = self.settings.time_limit
        return limit is not None and self.clock.seconds >= limit

    def _estimate(self, unknown: PyTree) -> None:
        found = estimate_error(
            self.problem,
            unknown,
            self.args,
            key=jax.random.fold_in(self.key, 1 << 16),
            observe=self.settings.observe,
        )
        self.estimate, self.estimated = found, self.step

    def _ended(self) -> bool:
        if bool(self.result != RESULTS.successful):
            return True
        error = self.estimate.error
        if error is not None and error <= self.tolerance:
            self.result = RESULTS.tolerance_reached
            return True
        if self.step >= self.settings.max_steps:
            self.result = RESULTS.nonlinear_max_steps_reached
            return True
        return False

    def _solution(self) -> Solution:
        self.unknown = normalised(self.problem, self.unknown, self.points.training)
        if bool(self.result == RESULTS.successful) and not self.done:
            self.result = RESULTS.idle
        elif bool(self.result == RESULTS.successful):
            asked = self.settings.tolerance is not None
            self.result = RESULTS.stagnated if asked else RESULTS.converged
        last = self.records[-1] if self.records else None
        if last is not None:
            last = dataclasses.replace(last, error=self.estimate.error)
            self.records[-1] = last
        params, rows = self.sizes
        device = next(iter(jax.devices()))
        stats = {
            "num_steps": self.step,
            "seconds": self.clock.seconds,
            "compile_seconds": self.clock.compile_seconds,
            "compilations": self.clock.compilations,
            "params": params,
            "rows": rows,
            "loss": None if last is None else last.loss,
            "held_out": None if last is None else last.held_out,
            "device": str(device.device_kind),
            "dtype": jnp.dtype(self.dtype).name,
            "stages": tuple(done.name for done in self.done.values()),
        }
        return Solution(
            self.unknown,
            result=self.result,
            stats=stats,
            history=history_of(self.records),
            error=self.estimate.error,
            error_reason=self.estimate.reason,
            problem=self.problem,
        )

    def raise_failure(self) -> None:
        """Raises if the run ended in numbers that are not finite."""
        if bool(self.result == RESULTS.nonfinite):
            raise RuntimeError(RESULTS[self.result])
