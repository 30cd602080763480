"""One evolution, from its statement to its solution: what moves, and how good it is."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from sobng.clock import Clock
from sobng.evaluation import observed
from sobng.evolve.attempt import Attempt, attempted
from sobng.evolve.conserving import Conserving, drift, settled
from sobng.evolve.correcting import Correcting, mismatches
from sobng.evolve.exponential import ExponentialGauss
from sobng.evolve.features import feature_unknown, periods, rule
from sobng.evolve.fitted import FittedRungeKutta
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.growth import grown, Rungs
from sobng.evolve.integrate import integrate, shapes, Trip
from sobng.evolve.journal import Journal, said
from sobng.evolve.ladder import initial_score, Ladder
from sobng.evolve.moving import fitted, moving
from sobng.evolve.path import joined
from sobng.evolve.projection import CUT, galerkin, Setting, setting
from sobng.evolve.solution import Evolved
from sobng.evolve.walls import check_periods, walled
from sobng.fields.mlp import MLP
from sobng.fields.partition import combine, linear_leaves, partition
from sobng.fields.periodic import PeriodicEmbedding
from sobng.problem import Evolution
from sobng.records import Record
from sobng.results import RESULTS
from sobng.stages.last_layer import ENOUGH


LOST = 0.1
"""Projection residual, relatively, at which a run on the last features is given up."""

MOVING_STEP = 1e-8
"""The tolerance of a step of all parameters."""

FOLLOWED = 1e-6
"""What a user's last layer may miss of the initial velocity to be moved alone."""

COMPARED = 512
"""Fresh points at which two runs are compared."""


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
        jet,
        solver,
        controller,
        dt0,
        event,
        conserved,
        corrections,
        field,
    ):
        self.evolution, self.jet = evolution, jet
        self.t0, self.t1, self.args = t0, t1, args
        self.settings = settings
        self.times = times
        self.solver, self.controller, self.dt0 = solver, controller, dt0
        self.event = event
        self.conserved, self.kept = conserved, None
        self.corrections = corrections
        self.key, point_key = jr.split(key)
        points, _ = evolution.domain.interior.sample(COMPARED, point_key)
        self.points = jnp.asarray(points)
        self.observe = observed(settings.observe)
        self.clock = Clock()
        self.stage = ""
        self.unfitted = ""
        self.field = field
        self.journal = Journal(
            settings.checkpoint,
            self.clock,
            said(evolution, t0, t1, args),
            (args, key, field, settings.tolerance, times, solver, controller, dt0),
            eqx.tree_pformat((solver, controller, event, jet, settings.observe)),
            corrections,
            eqx.tree_pformat(conserved.integrands),
        )

    def solve(self) -> Evolved:
        """Frozen features where they do, all parameters of a network elsewhere."""
        field = self.field
        self.clock.start()
        try:
            if field is None:
                ladder = self.ladder()
                if ladder is not None and ladder.whole:
                    return self.finished(ladder.whole[-1], ladder, ladder.result)
                if ladder is not None:
                    best = max(ladder.attempts, key=lambda a: a.route.end)
                    if best.grew:  # no network would follow it any further
                        return self.finished(best, ladder, RESULTS.blew_up)
                field = network(self.evolution, self.key)
            unknown = walled(self.evolution, field, jnp.asarray(self.t0), self.args)
            check_periods(self.evolution, unknown)
            attempt = self.given(unknown)
            ladder = None
            ends = (
                RESULTS.time_limit_reached,
                RESULTS.interrupted,
                RESULTS.unfitted,
            )
            if not any(bool(attempt.result == end) for end in ends):
                self.stage = "estimate"
                ladder = self.ladder(attempt.route.end)
            return self.finished(attempt, ladder, attempt.result)
        finally:
            self.clock.stop()

    def ladder(self, reached: float | None = None) -> Ladder | None:
        """Frozen features of sobng's own choice, ever more of them; `None` where the
        right-hand side is not local."""
        end = self.t1 if reached is None else reached
        small = feature_unknown(self.evolution, 2.0, 12, self.t0, self.args, self.key)
        made = setting(
            self.evolution,
            small,
            self.t0,
            end,
            self.args,
            self.key,
            also=self.conserved.orders,
            jet=self.jet,
        )
        if made is None or end <= self.t0:
            return None

        earlier = []

        def run(rungs: Rungs, level: float) -> Attempt:
            part = self.journal.part()
            there = part.attempt(self.times)
            if there is not None:
                return there
            begun = self.clock.seconds
            step = step_for(level)
            steps = [0]

            def go(motion, t, y, dt0, allowed):
                lost = LOST if allowed is None else None
                done = sum(steps)
                trip = self.go(motion, t, y, end, step, dt0, lost, allowed, done)
                steps.append(trip.steps)
                return trip

            found = self.attempted(*grown(made, rungs, level, go), level, begun)
            if found.complete:
                while earlier:
                    before, attempt = earlier.pop()
                    before.strip(attempt)
            earlier.append((part, found))
            return found

        ladder = Ladder(
            made,
            run,
            self.key,
            tolerance=self.settings.tolerance,
            seconds_left=self.seconds_left,
        )
        ladder.climb()
        return ladder

    def given(self, unknown: Any) -> Attempt:
        """A user's field: its last layer where that follows, else all of it."""
        self.journal.part()
        made = setting(
            self.evolution,
            unknown,
            self.t0,
            self.t1,
            self.args,
            self.key,
            also=self.conserved.orders,
            jet=self.jet,
        )
        linear, _ = eqx.partition(unknown, linear_leaves(unknown))
        size = sum(leaf.size for leaf in jax.tree.leaves(linear))
        if made is not None and size >= ENOUGH:
            num = 3 * size // (self.evolution.out or 1)
            points, weights = rule(self.evolution, num)
            held_out, _ = self.evolution.domain.interior.sample(256, self.key)
            motion = galerkin(made, unknown, points, weights, held_out, self.key)
            if initial_score(motion, made) < FOLLOWED:
                attempt = self.alone(motion, step_for(self.settings.tolerance), LOST)
                if bool(attempt.result != RESULTS.unresolved):
                    return attempt
        self.stage = "initial values"
        limit = None if self.settings.time_limit is None else self.seconds_left() / 3
        params, rest = partition(unknown)
        _, unravel = jfu.ravel_pytree(params)

        def fit():
            found = fitted(self.evolution, unknown, self.t0, self.args, self.key, limit)
            return jfu.ravel_pytree(partition(found)[0])[0]

        unknown = combine(unravel(self.journal.numbers(fit)), rest)
        motion = moving(
            self.evolution, unknown, self.t0, self.t1, self.args, self.key, jet=self.jet
        )
        y, miss = motion.start(jnp.asarray(self.t0), self.args)
        asked = self.settings.tolerance
        if asked is None or miss <= asked:
            return self.alone(motion, MOVING_STEP, None)
        self.unfitted = self.wider(made, float(miss), asked)
        path = joined(y, self.t0, [], [], dfx.Dopri8.interpolation_cls)
        looks = np.sqrt(motion.defect(self.t0, y, self.args))[None]
        trip = Trip(path, looks, 0, 0, RESULTS.unfitted)
        return self.attempted([motion], [trip], miss, MOVING_STEP, self.clock.seconds)

    def wider(self, made: Setting | None, miss: float, asked: float) -> str:
        """How near a field came to the initial values, and what would."""
        came = (
            f"The field misses the initial values by {miss:.1e}, relatively, and the "
            f"tolerance is {asked:.1e}."
        )
        if made is None or self.evolution.dim > 3:
            return f"{came} Make it wider."
        never: Any = lambda *_: None
        left = lambda: 0.0
        ladder = Ladder(made, never, self.key, tolerance=asked, seconds_left=left)
        rungs, number = ladder.rungs(0), 0
        while True:
            motion = rungs[number]
            _, found = motion.start(jnp.asarray(self.t0), self.args)
            number += 1
            if found <= asked or number == len(rungs):
                break
        num = len(motion.coefficients)
        return (
            f"{came} {num} sine features miss them by {float(found):.1e}: take a field "
            "of that many, or leave it out to let sobng choose."
        )

    def alone(self, motion: Any, step: float, lost: float | None) -> Attempt:
        """A run on one motion."""
        begun = self.clock.seconds
        y, miss = motion.start(jnp.asarray(self.t0), self.args)
        trip = self.go(motion, self.t0, y, self.t1, step, None, lost, None)
        return self.attempted([motion], [trip], miss, step, begun)

    def attempted(self, motions, trips, miss, level, begun: float) -> Attempt:
        return attempted(
            motions,
            trips,
            miss,
            level,
            self.clock.seconds - begun,
            times=self.times,
            points=self.points,
            look=self.observe,
            args=self.args,
        )

    def go(self, motion, t, y, end, step, dt0, lost, allowed, done=0) -> Trip:
        """One leg, with the steps of the user or those that suit the motion.

        **Arguments:**

        - `done`: the steps of the legs before.
        """
        frozen = isinstance(motion, Galerkin)
        self.stage = f"{y.size} functions" if frozen else f"{y.size} parameters"
        controller, solver = self.controller, self.solver
        if controller is None:
            # An array, as another number would be compiled anew.
            atol = jnp.asarray(step * np.linalg.norm(y) / y.size**0.5, y.dtype)
            controller = dfx.PIDController(rtol=0.0, atol=atol)
        if frozen and (solver is None or isinstance(solver, FittedRungeKutta)):
            solver = ExponentialGauss(motion.rates, tolerance=1e-2 * step)
        elif solver is None:
            solver = dfx.Dopri8()
        if not frozen and self.corrections:
            solver = Correcting(solver, self.corrections)
        if self.conserved.integrands:
            # Later legs keep what the first one began with.
            first = self.kept if t > self.t0 else None
            self.kept = self.conserved.on(motion, t, y, self.args, first)
            y = settled(self.kept, motion, t, y, self.args)
            solver = Conserving(solver, self.kept)
        fixed = isinstance(controller, dfx.ConstantStepSize)

        def make(**journal):
            return integrate(
                motion,
                solver,
                controller,
                t,
                end,
                y,
                self.args,
                dt0=self.dt0 if dt0 is None or fixed else dt0,
                event=self.event,
                look=lambda **seen: self.look(lost, **seen),
                allowed=allowed,
                max_steps=self.settings.max_steps - done,
                **journal,
            )

        kinds = lambda: shapes(motion, solver, controller, y, self.args, self.event)
        return self.journal.trip(motion, y, kinds, make)

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
        if bool(best.result != RESULTS.successful) and bool(result != RESULTS.blew_up):
            result = best.result
        reason = ""
        if self.unfitted:
            reason = self.unfitted
        elif errors is None:
            reason = "No two runs on frozen features came to the end, to compare with."
        elif bool(result == RESULTS.blew_up):
            reason = "The solution blows up; `errors` are those at the times before."
        attempts = [] if ladder is None else ladder.attempts
        misses, corrections = mismatches([trip.path for trip in best.trips])
        motion = best.route.legs[-1].motion
        frozen = isinstance(motion, Galerkin)
        missed, asked, size = best.looks.T
        stats = {
            "num_steps": best.steps,
            "num_rejected": sum(trip.rejected for trip in best.trips),
            "seconds": self.clock.seconds,
            "compile_seconds": self.clock.compile_seconds,
            "compilations": self.clock.compilations,
            "motion": "frozen features" if frozen else "all parameters",
            "params": len(motion.coefficients)
            if frozen
            else best.trips[-1].path.end.size,
            "rank": best.trips[-1].path.end.size,
            "rows": len(motion.table.points) if frozen else len(motion.points),
            "loss": None,
            "held_out": float(missed[-1] / max(asked[-1], np.finfo(float).tiny)),
            "initial_miss": best.miss,
            "corrections": corrections,
            "mismatch": tuple(np.max(misses, axis=0).tolist()) if len(misses) else (),
            "drift": drift([trip.path for trip in best.trips]),
            "device": str(next(iter(jax.devices())).device_kind),
            "dtype": jnp.dtype(self.points.dtype).name,
            "attempts": tuple(
                {
                    "rank": tuple(t.path.start.size for t in a.trips),
                    "reached": a.route.end,
                    "num_steps": a.steps,
                    "seconds": round(a.seconds, 3),
                }
                for a in attempts
            ),
        }
        last = np.nan if reason or not num else found[-1]
        return Evolved(
            best.route,
            self.args,
            result=result,
            ts=self.times[:num],
            errors=found,
            error=float(last) if np.isfinite(last) else None,
            error_reason=reason,
            stats=stats,
            history={
                "time": best.route.ts,
                "defect": missed / np.maximum(asked, np.finfo(float).tiny),
                "speed": asked,
                "size": size,
            },
            evolution=self.evolution,
            event_mask=best.trips[-1].event_mask,
        )


def step_for(level: float | None) -> float:
    """The tolerance of a step in time, relative to the size of the solution."""
    least = float(jnp.finfo(jnp.result_type(float)).eps ** CUT)
    if level is None:
        return least
    return max(1e-2 * level, 0.3 * min(level, 3 * least))


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
