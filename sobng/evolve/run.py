"""One evolution, from its statement to its solution: what moves, and how good it is."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from sobng.clock import Clock
from sobng.evaluation import observed
from sobng.evolve.attempt import Attempt
from sobng.evolve.features import feature_unknown, periods, rule
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.ladder import (
    attempt_on,
    default_solver,
    initial_score,
    Ladder,
    LOST,
)
from sobng.evolve.moving import fitted, moving
from sobng.evolve.projection import galerkin, Setting, setting
from sobng.evolve.solution import Evolved
from sobng.evolve.walls import check_periods, walled
from sobng.fields.mlp import MLP
from sobng.fields.partition import linear_leaves
from sobng.fields.periodic import PeriodicEmbedding
from sobng.problem import Evolution
from sobng.records import Record
from sobng.results import RESULTS
from sobng.stages.last_layer import ENOUGH


BEST = 1e-12
"""The relative error at which a run stops that was asked for none."""

MOVING_STEP = 1e-8
"""The tolerance of a step of all parameters."""

FOLLOWED = 1e-6
"""What a user's last layer may miss of the initial velocity to be moved alone."""

COMPARED = 512
"""Fresh points at which two runs are compared."""

STEP = 1e-12
"""The least tolerance of a step in time, relative to the size of the solution."""


class Run:
    """What does not change while one evolution is solved."""

    def __init__(
        self,
        evolution,
        t0,
        t1,
        args,
        settings,
        times,
        key,
        *,
        solver,
        controller,
        dt0,
        event,
    ):
        self.evolution = evolution
        self.t0, self.t1, self.args = t0, t1, args
        self.settings = settings
        self.times = times
        self.solver, self.controller, self.dt0 = solver, controller, dt0
        self.event = event
        self.key, point_key = jr.split(key)
        points, _ = evolution.domain.interior.sample(COMPARED, point_key)
        self.points = jnp.asarray(points)
        self.observe = observed(settings.observe)
        self.clock = Clock()
        self.stage = ""
        self.steps = 0

    def solve(self, field: Any) -> Evolved:
        """Frozen features where they do, all parameters of a network elsewhere."""
        self.clock.start()
        try:
            if field is None:
                ladder = self.ladder()
                if ladder is not None and ladder.whole:
                    return self.finished(ladder.whole[-1], ladder, ladder.result)
                field = network(self.evolution, self.key)
            unknown = walled(self.evolution, field, jnp.asarray(self.t0), self.args)
            check_periods(self.evolution, unknown)
            attempt = self.given(unknown)
            ladder = None
            if bool(attempt.trip.result != RESULTS.time_limit_reached):
                self.stage = "estimate"
                ladder = self.ladder(attempt.trip.reached)
            return self.finished(attempt, ladder, attempt.trip.result)
        finally:
            self.clock.stop()

    def ladder(self, reached: float | None = None) -> Ladder | None:
        """Frozen features of sobng's own choice, ever more of them; `None` where the
        right-hand side is not local."""
        end = self.t1 if reached is None else reached
        small = feature_unknown(self.evolution, 2.0, 12, self.t0, self.args, self.key)
        made = setting(self.evolution, small, self.t0, end, self.args, self.key)
        if made is None or end <= self.t0:
            return None

        def run(motion, number, last):
            step = self.step / (1 + 2 * (number % 2))
            # Every other rung steps finer, so that their difference shows the steps too.
            return self.attempt(made, motion, step, None if last else LOST)

        ladder = Ladder(
            made,
            run,
            self.key,
            goal=self.settings.tolerance or BEST,
            seconds_left=self.seconds_left,
        )
        ladder.climb()
        return ladder

    def given(self, unknown: Any) -> Attempt:
        """A user's field: its last layer where that follows, else all of it."""
        made = setting(self.evolution, unknown, self.t0, self.t1, self.args, self.key)
        linear, _ = eqx.partition(unknown, linear_leaves(unknown))
        size = sum(leaf.size for leaf in jax.tree.leaves(linear))
        if made is not None and size >= ENOUGH:
            num = 3 * size // (self.evolution.out or 1)
            points, weights = rule(self.evolution, num)
            held_out, _ = self.evolution.domain.interior.sample(256, self.key)
            motion = galerkin(made, unknown, points, weights, held_out, self.key)
            if initial_score(motion, made) < FOLLOWED:
                attempt = self.attempt(made, motion, self.step, LOST)
                if bool(attempt.trip.result != RESULTS.unresolved):
                    return attempt
        self.stage = "initial values"
        limit = None if self.settings.time_limit is None else self.seconds_left() / 3
        unknown = fitted(self.evolution, unknown, self.t0, self.args, self.key, limit)
        motion = moving(self.evolution, unknown, self.t0, self.t1, self.args, self.key)
        made = Setting(self.evolution, (), self.t0, self.t1, self.args)
        return self.attempt(made, motion, MOVING_STEP, None)

    @property
    def step(self) -> float:
        """The tolerance of a step of frozen features."""
        goal = self.settings.tolerance
        return STEP if goal is None else min(max(1e-2 * goal, STEP), 1e-6)

    def attempt(self, made, motion, step: float, limit: float | None) -> Attempt:
        """One run, with the steps of the user or those that suit the motion."""
        frozen = isinstance(motion, Galerkin)
        y0, _ = motion.start(jnp.asarray(self.t0), self.args)
        size = y0.size
        self.stage = f"{size} functions" if frozen else f"{size} parameters"
        scale = float(jnp.linalg.norm(y0)) / size**0.5
        controller = self.controller
        if controller is None:
            controller = dfx.PIDController(rtol=0.0, atol=step * scale)
        solver = self.solver
        if solver is None:
            solver = default_solver(motion, step) if frozen else dfx.Dopri8()
        facts = {
            "motion": "frozen features" if frozen else "all parameters",
            "params": motion.coefficients.shape[0] if frozen else size,
            "rank": size,
            "rows": len(motion.table.points) if frozen else len(motion.points),
        }
        return attempt_on(
            motion,
            solver,
            controller,
            made,
            dt0=self.dt0,
            event=self.event,
            look=lambda **seen: self.look(limit, **seen),
            times=self.times,
            points=self.points,
            observe=self.observe,
            max_steps=self.settings.max_steps,
            seconds=lambda: self.clock.seconds,
            facts=facts,
        )

    def look(self, limit, *, time, defect, steps):
        """Tells listeners; says why a run has to stop, if it has."""
        record = Record(
            stage=f"t={time:.3g}, {self.stage}",
            step=steps,
            loss=float("nan"),
            held_out=defect,
            error=None,
            seconds=self.clock.seconds,
            seconds_left=self.seconds_left() if self.settings.time_limit else None,
            damping=float("nan"),
            projection_error=None,
            accepted=True,
        )
        for callback in self.settings.callbacks:
            callback(record)
        if self.seconds_left() <= 0:
            return RESULTS.time_limit_reached
        if not np.isfinite(defect):
            return RESULTS.blew_up
        if limit is not None and defect > limit:
            return RESULTS.unresolved
        return None

    def seconds_left(self) -> float:
        limit = self.settings.time_limit
        return np.inf if limit is None else limit - self.clock.seconds

    def errors(self, best: Attempt, ladder: Ladder | None) -> np.ndarray | None:
        """The error by comparison with independent runs, by time."""
        found = None if ladder is None else ladder.errors()
        if found is None or ladder is None:
            return None
        other = ladder.whole[-1]
        return found if best is other else best.difference(other) + found

    def finished(self, best: Attempt, ladder: Ladder | None, result: Any) -> Evolved:
        """The solution, with what is known about it."""
        errors = self.errors(best, ladder)
        num = len(best.values)
        found = np.full(num, np.nan)
        if errors is not None:
            found[: len(errors)] = errors[:num]
        trip = best.trip
        if bool(trip.result != RESULTS.successful):
            result = trip.result
        reason = (
            ""
            if errors is not None
            else ("No two runs on frozen features came to the end, to compare with.")
        )
        attempts = [] if ladder is None else ladder.attempts
        stats = {
            "num_steps": trip.steps,
            "num_rejected": trip.rejected,
            "seconds": self.clock.seconds,
            "compile_seconds": self.clock.compile_seconds,
            "compilations": self.clock.compilations,
            **{name: best.facts[name] for name in ("motion", "params", "rank", "rows")},
            "loss": None,
            "held_out": float(trip.defects[-1]),
            "initial_miss": best.miss,
            "device": str(next(iter(jax.devices())).device_kind),
            "dtype": jnp.dtype(self.points.dtype).name,
            "attempts": tuple(
                (a.facts["rank"], a.trip.reached, a.trip.steps, round(a.seconds, 3))
                for a in attempts
            ),
        }
        last = found[-1] if num else np.nan
        return Evolved(
            best.motion,
            trip.path,
            self.args,
            result=result,
            ts=self.times[:num],
            errors=found,
            error=float(last) if np.isfinite(last) else None,
            error_reason=reason,
            stats=stats,
            history={
                "time": trip.path.ts,
                "defect": trip.defects,
                "speed": trip.asked,
            },
            evolution=self.evolution,
            event_mask=trip.event_mask,
        )


def network(evolution: Evolution, key: Any) -> Any:
    """The network that moves where frozen features cannot follow."""
    repeated = periods(evolution)
    dim = evolution.dim + len(repeated)
    inner = MLP(dim, out=evolution.out, width=24, depth=2, key=key)
    if not repeated:
        return inner
    lower, upper = evolution.domain.bounds
    rest = [axis for axis in range(evolution.dim) if axis not in repeated]
    bounds = {axis: (float(lower[axis]), float(upper[axis])) for axis in rest}
    return PeriodicEmbedding(inner, repeated, bounds=bounds)
