"""How far runs go: to the end, or as far as two of them tell the error of each other."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from sobng.clock import Clock
from sobng.evolve.attempt import Attempt
from sobng.results import RESULTS


TOUCH = 0.3
"""The relative difference of two runs from which on they say nothing of each other."""

SHARE = 0.3
"""The part of a time limit after which a run that would not end in it stops for another."""

SAVED = 17
"""Times at which errors are estimated, unless a user names some."""


class Horizon:
    """The time to which the runs of one evolution go.

    Two things shorten it. Where a tolerance is asked for, runs that have lost touch with
    one another, as those of a chaotic equation do: beyond, a third would tell nothing. And
    a time limit that is too short for one run: half of the way with a known error is more
    than all of it without.
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        times: np.ndarray,
        clock: Clock,
        *,
        tolerance: float | None,
        limit: float | None,
        values: Callable[[Any], Any],
        args: Any,
    ):
        """**Arguments:**

        - `times`: at which errors are to be known.
        - `limit`: seconds for all runs.
        - `values`: what is compared of a field, an array.
        """
        self.t0, self.t1, self.reach = t0, t1, t1
        self.times, self.clock = times, clock
        self.tolerance, self.limit = tolerance, limit
        self.values, self.args = values, args
        self.result: Any = None

    @property
    def short(self) -> bool:
        """Whether runs do not go to the end."""
        return self.result is not None

    def watch(self, before: Attempt | None) -> Callable[..., Any]:
        """What a run is asked after each segment: why it has gone far enough, if it has.

        **Arguments:**

        - `before`: the run that it will be compared with.
        """
        begun = self.clock.seconds

        def far(motion: Any, time: float, state: Any) -> Any:
            if self.short and time >= self.reach:
                return self.result
            there = before is not None and before.whole and time <= before.route.end
            if there and self.tolerance is not None and not self.short:
                now = self.values(motion.field(jnp.asarray(time), state, self.args))
                if _apart(now, self._at(before, time)) > TOUCH:
                    return RESULTS.drifted
            if before is None and self.limit is not None:
                spent, part = self.clock.seconds - begun, time - self.t0
                whole = spent * (self.t1 - self.t0) / max(part, 1e-300)
                left = self.limit - begun
                if spent > SHARE * left and whole > left:
                    self.result = RESULTS.time_limit_reached
                    self.reach = time
                    return self.result
            return None

        return far

    def note(self, attempt: Attempt, others: list[Attempt]) -> tuple[Attempt, ...]:
        """The attempt and others, at more times if it is known to be the last time.

        A run that has lost touch, or spent its share, says how far others go.
        """
        if bool(attempt.result == RESULTS.drifted) and not self.short:
            self.result, self.reach = RESULTS.drifted, attempt.route.end
        found = [*others, attempt]
        if self.short and self.times[-1] > self.reach:
            self.times = self.times[self.times <= self.reach]
            even = np.linspace(self.t0, self.reach, SAVED)
            self.times = np.unique(np.concatenate([self.times, even]))
        return tuple(self.renewed(a) for a in found)

    def renewed(self, attempt: Attempt) -> Attempt:
        """The same with values at the times that are in force."""
        if np.array_equal(attempt.times, self.times) or not attempt.whole:
            return attempt
        return attempt.at(self.times, self.values, self.args)

    def whole(self, attempt: Attempt) -> bool:
        """Whether a run came as far as runs go."""
        return attempt.complete or (self.short and attempt.route.end >= self.reach)

    def _at(self, before: Any, time: float) -> Any:
        return self.values(before.route.field(time, self.args))


def _apart(one: Any, other: Any) -> float:
    size = jnp.maximum(jnp.linalg.norm(one), jnp.finfo(one.dtype).tiny)
    return float(jnp.linalg.norm(one - other) / size)


def last_time(ts: np.ndarray, errors: np.ndarray, tolerance: float) -> float | None:
    """When a growing error passes a tolerance; `None` if it does not, or always was above.

    Between two times an error is taken to grow exponentially.
    """
    if not (len(errors) and errors[-1] > tolerance and np.any(errors <= tolerance)):
        return None
    i = int(np.flatnonzero(errors <= tolerance)[-1])
    tiny = np.finfo(float).tiny
    low, high = np.log(np.maximum(errors[i : i + 2], tiny))
    part = (np.log(tolerance) - low) / (high - low)
    return float(ts[i] + part * (ts[i + 1] - ts[i]))
