"""Frozen features, ever more of them, until two runs agree."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from sobng.evolve.attempt import Attempt, sampled
from sobng.evolve.exponential import ExponentialGauss
from sobng.evolve.features import (
    BANDWIDTHS,
    count,
    feature_unknown,
    MOST,
    points_for,
    RATIOS,
    rule,
)
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.integrate import integrate
from sobng.evolve.projection import galerkin, Setting
from sobng.results import RESULTS


LOST = 0.1
"""Projection residual, relatively, at which a run on too few features is given up."""

SETTLED = 0.3
"""Differences of successive runs that fall by less than this have met their floor."""

HIGH_DIM = (300, 500, 800)
"""Features where there are too many dimensions to count waves."""

LADDER = tuple(2.0 ** (3 - k) for k in range(11))
"""Bandwidths that are tried there."""


class Ladder:
    """Runs one rung after another and judges each by the next."""

    def __init__(
        self,
        made: Setting,
        run: Callable[..., Attempt],
        key: jax.Array,
        *,
        goal: float,
        seconds_left: Callable[[], float],
    ):
        """**Arguments:**

        - `run`: from a motion and the number of a rung to an attempt.
        - `goal`: the relative L2 error at which to stop.
        - `seconds_left`: the time limit, counted down.
        """
        self.made = made
        self.run = run
        self.key = key
        self.goal = goal
        self.seconds_left = seconds_left
        self.attempts: list[Attempt] = []
        self.result: Any = RESULTS.settled

    def climb(self) -> None:
        """All rungs, until two agree, nothing improves, or time is over."""
        dim = self.made.evolution.dim
        rungs = self._low() if dim <= 3 else self._high()
        for motion, last in rungs:
            attempt = self.run(motion, len(self.attempts), last)
            self.attempts.append(attempt)
            stop = self._judge(attempt, last)
            if stop is not None:
                self.result = stop
                return

    def errors(self) -> np.ndarray | None:
        """Estimated relative L2 errors of the last run, by time.

        What a rung changed was the error of the rung below it; the ratio of two such
        changes tells what is left.
        """
        done = self.whole
        if len(done) < 2:
            return None
        change = done[-1].difference(done[-2])
        factor = 1.0
        if len(done) > 2:
            before = done[-2].difference(done[-3])
            factor = float(
                np.clip(np.max(change) / max(np.max(before), 1e-300), 1e-2, 1)
            )
        return np.maximum(factor * change, done[-1].miss)

    @property
    def whole(self) -> list[Attempt]:
        """The runs to the end, or to an event of the user."""
        return [a for a in self.attempts if a.facts["complete"]]

    def _lost(self) -> bool:
        """Whether the last run was given up for want of features."""
        runs = self.attempts
        return bool(runs) and bool(runs[-1].trip.result == RESULTS.unresolved)

    def _judge(self, attempt: Attempt, last: bool) -> Any:
        result = attempt.trip.result
        if bool(result == RESULTS.time_limit_reached):
            return result
        if bool(result == RESULTS.unresolved) and not last:
            return None
        if bool(result == RESULTS.blew_up) or bool(result == RESULTS.unresolved):
            return result if last or len(self.attempts) > 2 else None
        errors = self.errors()
        if errors is not None:
            if errors[-1] <= self.goal:
                return RESULTS.tolerance_reached
            done = self.whole
            if len(done) > 2:
                new, old = done[-1].difference(done[-2]), done[-2].difference(done[-3])
                if np.max(new) > SETTLED * np.max(old) and np.max(new) < 1e-2:
                    return RESULTS.settled
        growth = RATIOS.get(self.made.evolution.dim, 1.5) ** 3
        if growth * attempt.seconds > self.seconds_left():
            return RESULTS.time_limit_reached
        return RESULTS.stagnated if last else None

    def _low(self):
        """Bandwidths that rise until the initial values and their velocity are caught."""
        evolution = self.made.evolution
        bandwidth, before = BANDWIDTHS[evolution.dim], math.inf
        caught = False
        for number in range(20):
            num = count(evolution, bandwidth)
            ratio = RATIOS[evolution.dim]
            last = count(evolution, ratio * bandwidth) > MOST
            motion = self._motion(bandwidth, num, number)
            if not caught and not last:
                score = initial_score(motion, self.made)
                caught = score < 1e-9 or score > 0.5 * before
                before = score
            if caught or last:
                yield motion, last
            if last:
                return
            bandwidth *= ratio
            if self._lost() and count(evolution, ratio * bandwidth) <= MOST:
                bandwidth *= ratio  # the next rung would hardly come further

    def _high(self):
        """The bandwidth that catches the initial velocity best, then more features."""
        num = HIGH_DIM[0]
        scores = {}
        for number, bandwidth in enumerate(LADDER):
            motion = self._motion(bandwidth, num, 100 + number)
            scores[bandwidth] = initial_score(motion, self.made)
            if scores[bandwidth] > 1e2 * min(scores.values()):
                break
        best = min(scores, key=lambda b: scores[b])
        for number, num in enumerate(HIGH_DIM):
            yield self._motion(best, num, number), number == len(HIGH_DIM) - 1

    def _motion(self, bandwidth: float, num: int, number: int) -> Galerkin:
        made = self.made
        field_key, point_key, key = jr.split(jr.fold_in(self.key, number), 3)
        unknown = feature_unknown(
            made.evolution, bandwidth, num, made.t0, made.args, field_key
        )
        points, weights = rule(
            made.evolution, points_for(made.evolution, bandwidth, num)
        )
        held_out, _ = made.evolution.domain.interior.sample(256, point_key)
        return galerkin(made, unknown, points, weights, held_out, key)


def initial_score(motion: Galerkin, made: Setting) -> float:
    """What the features miss of the initial values and of their velocity."""
    y0, miss = motion.start(jnp.asarray(made.t0), made.args)
    squares = motion.defect(jnp.asarray(made.t0), y0, made.args)
    return float(
        jnp.maximum(miss, jnp.sqrt(squares[0] / jnp.maximum(squares[1], 1e-300)))
    )


def default_solver(motion: Any, tolerance: float) -> Any:
    """The exponential solver of a projected evolution."""
    return ExponentialGauss(motion.rates, tolerance=1e-2 * tolerance)


def attempt_on(
    motion: Any,
    solver: Any,
    controller: Any,
    made: Setting,
    *,
    dt0: Any,
    event: Any,
    look: Callable[..., Any],
    times: np.ndarray,
    points: Any,
    observe: Any,
    max_steps: int,
    seconds: Callable[[], float],
    facts: dict[str, Any],
) -> Attempt:
    """One run on one motion."""
    begun = seconds()
    y0, miss = motion.start(jnp.asarray(made.t0), made.args)
    trip = integrate(
        motion,
        solver,
        controller,
        made.t0,
        made.t1,
        y0,
        made.args,
        dt0=dt0,
        event=event,
        look=look,
        max_steps=max_steps,
    )
    values = sampled(motion, trip, times, points, observe, made.args)
    ended = trip.result
    complete = bool(ended == RESULTS.successful) or bool(
        ended == RESULTS.event_occurred
    )
    facts = {**facts, "complete": complete}
    return Attempt(motion, trip, float(miss), seconds() - begun, values, times, facts)
