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
from sobng.evolve.attempt import Attempt, attempted, values_at
from sobng.evolve.conserving import Conserving, settled
from sobng.evolve.features import feature_unknown, network, rule
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.growth import grown, Rungs, Watch
from sobng.evolve.horizon import Horizon
from sobng.evolve.integrate import integrate, shapes, Trip
from sobng.evolve.journal import Journal, said
from sobng.evolve.ladder import initial_score, Ladder, unfitted
from sobng.evolve.moving import DAMPING, fitted, Moving, moving
from sobng.evolve.path import joined
from sobng.evolve.projection import galerkin, setting
from sobng.evolve.refit import Another, refitting
from sobng.evolve.report import evolved
from sobng.evolve.solution import Evolved
from sobng.evolve.steps import size_of, step_for, Steps
from sobng.evolve.walls import check_periods, walled
from sobng.fields.partition import combine, linear_leaves, partition
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

FOR_GOOD = (RESULTS.interrupted, RESULTS.nonlinear_max_steps_reached)
"""How runs end after which no other one begins, whatever time is left."""


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
        self.steps = Steps(solver, controller, dt0, corrections)
        self.event = event
        self.conserved, self.kept = conserved, None
        self.key, point_key = jr.split(key)
        points, _ = evolution.domain.interior.sample(COMPARED, point_key)
        self.points = jnp.asarray(points)
        self.observe = observed(settings.observe)
        self.clock = Clock()
        self.horizon = Horizon(
            t0,
            t1,
            times,
            self.clock,
            tolerance=settings.tolerance,
            limit=settings.time_limit,
            values=lambda field: values_at(field, self.points, self.observe),
            args=args,
        )
        self.stage = ""
        self.unfitted, self.refits = "", (0, 0)
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
                    if self.limited(ladder):
                        return self.finished(best, ladder, ladder.result)
                    if best.grew:  # no network would follow it any further
                        return self.finished(best, ladder, RESULTS.blew_up)
                field = network(self.evolution, self.key)
            unknown = walled(self.evolution, field, jnp.asarray(self.t0), self.args)
            check_periods(self.evolution, unknown)
            attempt = self.given(unknown, own=self.field is None)
            ladder = None
            ends = (
                RESULTS.time_limit_reached,
                RESULTS.interrupted,
                RESULTS.unfitted,
            )
            ended = any(bool(attempt.result == end) for end in ends)
            if not ended or self.horizon.short:
                self.stage = "estimate"
                ladder = self.ladder(attempt.route.end)
            return self.finished(attempt, ladder, attempt.result)
        finally:
            self.clock.stop()

    def limited(self, ladder: Ladder) -> bool:
        """Whether a limit ended the features, and leaves nothing to a network."""
        if any(bool(ladder.result == end) for end in FOR_GOOD):
            return True
        # Features that were too slow to be made leave it most of the time.
        late = bool(ladder.result == RESULTS.time_limit_reached)
        return late and not (ladder.late and self.seconds_left() > 0)

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

        # A user's steps would be wrong by the same for features as for a field.
        chosen = self.steps if reached is None else Steps()

        def run(rungs: Rungs, level: float, judge: bool = False) -> Attempt:
            part = self.journal.part()
            if part.attempt is not None:
                return part.attempt
            begun = self.clock.seconds
            far = self.horizon.watch(earlier[-1][1] if earlier else None)
            step, steps = step_for(level), chosen.finer() if judge else chosen
            taken = [0]

            def go(motion, t, y, dt0, allowed):
                lost = LOST if allowed is None else None
                done = sum(taken)
                told = (lost, allowed, far, done)
                trip = self.go(motion, t, y, end, step, steps, dt0, *told)
                taken.append(trip.steps)
                return trip

            found = self.attempted(*grown(made, rungs, level, go), level, begun)
            if judge:
                return self.horizon.renewed(found)
            parts, runs = zip(*earlier, strict=True) if earlier else ((), ())
            *runs, found = self.horizon.note(found, list(runs))
            if self.horizon.whole(found):
                for before, attempt in zip(parts, runs, strict=True):
                    before.strip(attempt)
                earlier.clear()
            else:
                earlier[:] = zip(parts, runs, strict=True)
            earlier.append((part, found))
            return found

        ladder = Ladder(
            made,
            run,
            self.key,
            tolerance=self.settings.tolerance,
            seconds_left=self.seconds_left,
            refused=self.journal.refused,
            horizon=self.horizon,
            named=chosen.named,
        )
        ladder.climb()
        return ladder

    def given(self, unknown: Any, own: bool) -> Attempt:
        """A user's field, or a network of sobng's own: its last layer where that follows,
        else all of it."""
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
        limit = None
        if self.settings.time_limit is not None:
            limit = max(self.seconds_left() / 3, 1e-3)  # no time left is no error
        params, rest = partition(unknown)
        _, unravel = jfu.ravel_pytree(params)

        def fit():
            found = fitted(self.evolution, unknown, self.t0, self.args, self.key, limit)
            return jfu.ravel_pytree(partition(found)[0])[0]

        begun = combine(unravel(self.journal.numbers(fit)), rest)
        asked = self.settings.tolerance
        motion = moving(
            self.evolution,
            begun,
            self.t0,
            self.t1,
            self.args,
            self.key,
            jet=self.jet,
            damping=DAMPING if asked is None else min(DAMPING, 10 * asked),
        )
        y, miss = motion.start(jnp.asarray(self.t0), self.args)
        if asked is None or miss <= asked:
            anew = Another(motion, unknown, self.t1, self.args, self.key, own)
            return self.refitted(motion, y, miss, anew)
        left = self.seconds_left
        self.unfitted = unfitted(
            made, self.evolution, float(miss), asked, self.key, left, self.horizon
        )
        path = joined(y, self.t0, [], [], dfx.Dopri8.interpolation_cls)
        looks = np.sqrt(motion.defect(self.t0, y, self.args))[None]
        trip = Trip(path, looks, 0, 0, RESULTS.unfitted)
        return self.attempted([motion], [trip], miss, MOVING_STEP, self.clock.seconds)

    def alone(self, motion: Any, step: float, lost: float | None) -> Attempt:
        """A run on one motion."""
        begun = self.clock.seconds
        y, miss = motion.start(jnp.asarray(self.t0), self.args)
        far = self.horizon.watch(None)
        trip = self.go(
            motion, self.t0, y, self.t1, step, self.steps, None, lost, None, far
        )
        return self.attempted([motion], [trip], miss, step, begun)

    def refitted(self, motion: Moving, y: Any, miss: Any, anew: Another) -> Attempt:
        """A run in which all parameters move, of one field or of several in turn."""
        begun, level = self.clock.seconds, self.settings.tolerance or FOLLOWED
        far = self.horizon.watch(None)

        def go(motion, t, y, dt0, allowed, done):
            told = (MOVING_STEP, self.steps, dt0, None, allowed, far, done)
            return self.go(motion, t, y, self.t1, *told)

        watch = Watch(level, self.t1 - self.t0)
        found = refitting(motion, y, watch, go, anew, self.t0, self.args)
        self.refits = (len(found.motions) - 1, found.tried)
        return self.attempted(found.motions, found.trips, miss, MOVING_STEP, begun)

    def attempted(self, motions, trips, miss, level, begun: float) -> Attempt:
        return attempted(
            motions,
            trips,
            miss,
            level,
            self.clock.seconds - begun,
            times=self.horizon.times,
            values=self.horizon.values,
            args=self.args,
        )

    def go(
        self, motion, t, y, end, step, steps, dt0, lost, allowed, far, done=0
    ) -> Trip:
        """One leg, with the steps of the user or those that suit the motion.

        **Arguments:**

        - `step`, `steps`: the tolerance of a step, and what a user says of them.
        - `dt0`: the first step, if it is known from the leg before.
        - `far`: as made by `Horizon.watch`.
        - `done`: the steps of the legs before.
        """
        frozen = isinstance(motion, Galerkin)
        self.stage = f"{y.size} functions" if frozen else f"{y.size} parameters"
        size = size_of(motion, y, t, end, self.args)
        solver, controller = steps.of(motion, y, step, size)
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
                dt0=steps.dt0 if dt0 is None or fixed else dt0,
                event=self.event,
                look=lambda **seen: self.look(lost, far, **seen),
                allowed=allowed,
                max_steps=self.settings.max_steps - done,
                **journal,
            )

        kinds = lambda: shapes(motion, solver, controller, y, self.args, self.event)
        return self.journal.trip(motion, y, kinds, make)

    def look(self, limit, far, *, motion, state, time, defect, steps):
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
        return far(motion, time, state)

    def seconds_left(self) -> float:
        limit = self.settings.time_limit
        return np.inf if limit is None else limit - self.clock.seconds

    def finished(self, best: Attempt, ladder: Ladder | None, result: Any) -> Evolved:
        """The solution, with what is known about it."""
        return evolved(
            best,
            ladder,
            result,
            horizon=self.horizon,
            clock=self.clock,
            evolution=self.evolution,
            args=self.args,
            unfitted=self.unfitted,
            refits=self.refits,
        )
