"""Frozen features to ever smaller tolerances, until two runs agree."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from sobng.evolve.attempt import Attempt
from sobng.evolve.features import (
    bandwidths,
    count,
    feature_unknown,
    points_for,
    rule,
)
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.growth import Rungs
from sobng.evolve.horizon import Horizon
from sobng.evolve.projection import CUT, galerkin, Setting
from sobng.problem import Evolution
from sobng.results import RESULTS
from sobng.typing import Key


LEVELS = (1e-4, 1e-7, 1e-10)
"""Relative errors that are aimed at one after another, before the least possible."""

CLOSER = (0.3, 0.1, 0.01, 1e-3)
"""The same in units of a tolerance."""

SETTLED = 0.3
"""Differences of successive runs that fall by less than this have met their floor."""

LONGER = 2.0
"""How much longer the next run is expected to take, at least."""

COMPARABLE = 0.05
"""The ratio of two levels above which runs to them have like errors."""

LIKEWISE = 1.2
"""How much longer than the last one a run like it is expected to take, at most."""

HIGH_DIM = (300, 500, 800)
"""Features where there are too many dimensions to count waves."""

LADDER = tuple(2.0 ** (3 - k) for k in range(11))
"""Bandwidths that are tried there."""


RUNGS = 100
"""Motions of one run are numbered from a multiple of this."""

GOLDEN = 0.618
"""By which part of their distance points are moved from run to run."""


class Ladder:
    """Runs to one level after another and judges each by the next."""

    def __init__(
        self,
        made: Setting,
        run: Callable[..., Attempt],
        key: jax.Array,
        *,
        tolerance: float | None,
        seconds_left: Callable[[], float],
        refused: Callable[[Callable[[], bool]], bool] = lambda late: late(),
        horizon: Horizon,
        named: bool,
    ):
        """**Arguments:**

        - `run`: from features and a level to an attempt; with `judge=True` one in finer
            steps, which is compared and no more.
        - `horizon`: how far runs go; each run may shorten it.
        - `tolerance`: the relative L2 error at which to stop, or `None`.
        - `seconds_left`: the time limit, counted down.
        - `refused`: as for [`sobng.evolve.growth.Rungs`][].
        - `named`: whether a user says how long steps are, whatever the level is.
        """
        self.made = made
        self.run = run
        self.key = key
        self.least = float(jnp.finfo(jnp.result_type(float)).eps ** CUT)
        self.tolerance = tolerance
        self.seconds_left, self.refused = seconds_left, refused
        self.late = False
        self.horizon = horizon
        self.named, self.judge, self.judging, self.last = named, None, False, None
        self.attempts: list[Attempt] = []
        self.result: Any = RESULTS.settled

    def climb(self) -> None:
        """All levels, until two runs agree, nothing improves, or time is over."""
        plan = self._low() if self.made.evolution.dim <= 3 else self._high()
        try:
            for rungs, level in plan:
                self._try(rungs, level)
                stop = self._judge()
                if stop is not None:
                    self.result = stop
                    break
            else:
                self.result = RESULTS.stagnated
            self._compare()
            self._judge_steps()
        except KeyboardInterrupt:  # between the steps
            if not self.attempts:
                raise
            self.result = RESULTS.interrupted

    def _compare(self) -> None:
        """One more run like the last, if that alone was to its level and time is left.

        How much smaller the error is than that of a much coarser run nobody knows.
        """
        done = self.whole
        dim = self.made.evolution.dim
        if any(bool(self.result == r) for r in (RESULTS.interrupted, RESULTS.blew_up)):
            return
        if dim > 3 or len(done) < 2 or done[-1].level > COMPARABLE * done[-2].level:
            return
        if done[-1].miss > done[-1].level:  # the change counts whole already
            return
        errors = self.errors()
        small = errors is not None and errors[-1] <= self.least
        if small or LIKEWISE * done[-1].seconds > self.seconds_left():
            return
        # One that climbs much higher is not like it, and may take any time.
        rank = max(trip.path.start.size for trip in done[-1].trips)
        rungs = self.rungs(len(self.attempts), like=rank)
        self._try(rungs, CLOSER[0] * done[-1].level)

    def _judge_steps(self) -> None:
        """A run like the last in finer steps, where no level changes those of a user: all
        runs would be wrong by the same."""
        ends = (RESULTS.blew_up, RESULTS.interrupted)
        over = any(bool(self.result == end) for end in ends)
        if not self.named or self.last is None or over or not self.whole:
            return
        best, self.judging = self.whole[-1], True
        if LONGER * best.seconds <= self.seconds_left():
            self.judge = self.run(self.last, best.level, judge=True).bare()
        errors = self.errors()
        met = errors is not None and errors[-1] <= (self.tolerance or self.least)
        if bool(self.result == RESULTS.tolerance_reached) and not met:
            self.result = RESULTS.successful  # the end, and no more

    def _try(self, rungs: Rungs, level: float) -> None:
        found = self.run(rungs, level)
        self.late = rungs.late
        *others, found = self.horizon.note(found, self.attempts)
        self.attempts = others
        if self.horizon.whole(found):
            self.attempts = [a.bare() for a in others]
            self.last = rungs if self.named else None
        self.attempts.append(found)

    def errors(self) -> np.ndarray | None:
        """Estimated relative L2 errors of the last run, by time.

        What a run changed was the error of the run before it. How much of it is left
        is told by what both missed of the right-hand side, and by the root of the ratio
        of their levels: errors of steps fall about so, as some are better than asked for.
        """
        done = self.whole
        if len(done) < 2:
            return None
        new, old = done[-1], done[-2]
        left = new.missed / max(old.missed, 1e-300)
        if self.made.evolution.dim <= 3:  # beyond, levels are those of steps alone
            left = max(left, (new.level / old.level) ** 0.5)
            if new.miss > new.level:  # initial values that no level makes any better
                left = 1.0
        factor = min(left, 1.0)
        change = new.difference(old)
        # Rounding of the initial values; a misfit of kinks is no error of later times.
        floor = done[-1].miss if done[-1].miss < 1e-9 else 0.0
        first = new.times[: len(change)] <= self.made.t0
        found = np.maximum(factor * change, np.where(first, new.miss, floor))
        return self._with_steps(new, found)

    def _with_steps(self, run: Attempt, errors: np.ndarray) -> np.ndarray:
        """The same with the error of steps that a user named; `nan` where it is unknown."""
        if not self.named or not self.judging:
            return errors
        known = np.zeros(0) if self.judge is None else run.difference(self.judge)
        known = known[: len(errors)]
        more = np.full(len(errors) - len(known), np.nan)
        return np.maximum(errors, np.concatenate([known, more]))

    def errors_of_one(self) -> np.ndarray | None:
        """The error of the only whole run, at the times that a later one reached."""
        done, last = self.whole, self.attempts[-1]
        if len(done) != 1 or last is done[0]:
            return None
        found = np.maximum(done[0].difference(last), done[0].miss)
        return self._with_steps(done[0], found)

    @property
    def whole(self) -> list[Attempt]:
        """The runs to the end, to an event of the user or to a singularity, or as far as
        runs go; if one came past a singularity, only those that did."""
        done = [a for a in self.attempts if self.horizon.whole(a)]
        past = [a for a in done if not a.singular]
        return past or done

    def _judge(self) -> Any:
        attempt, done = self.attempts[-1], self.whole
        if not self.horizon.whole(attempt):
            few = self.made.evolution.dim > 3 or len(self.attempts) == 1
            failed = (RESULTS.blew_up, RESULTS.unresolved)
            failing = any(bool(attempt.result == f) for f in failed)
            again = few and failing and not attempt.grew
            return None if again else attempt.result
        errors = self.errors()
        if attempt.singular:
            # As close as features come to it; a second run tells the errors before.
            return None if errors is None else RESULTS.blew_up
        if errors is not None:
            if errors[-1] <= (self.tolerance or self.least):
                return RESULTS.tolerance_reached
            if len(done) > 2:
                new, old = done[-1].difference(done[-2]), done[-2].difference(done[-3])
                if SETTLED * old[-1] < new[-1] < 1e-4 and not self.late:
                    return RESULTS.settled
            if self.late:  # closer aims would take the same features
                return RESULTS.time_limit_reached
        if LONGER * attempt.seconds > self.seconds_left():
            return RESULTS.time_limit_reached
        return None

    def _low(self):
        """Levels down to the least, each run on features of its own."""
        if self.tolerance is None:
            levels = [level for level in LEVELS if level > self.least]
            levels += [3 * self.least, self.least]
        else:
            levels = [max(part * self.tolerance, self.least) for part in CLOSER]
        for number, level in enumerate(levels):
            yield self.rungs(number), level

    def rungs(self, number: int, like: int | None = None) -> Rungs:
        """Features of a run, independent of those of other runs.

        **Arguments:**

        - `like`: how many functions another run came to, above which only one more rung is
            of interest.
        """
        evolution = self.made.evolution
        widths = bandwidths(evolution)

        def make(rung):
            num = count(evolution, widths[rung])
            return self._motion(widths[rung], num, RUNGS * number + rung)

        sizes = [count(evolution, width) for width in widths]
        if like is not None:
            enough = [size * (evolution.out or 1) >= like for size in sizes]
            sizes = sizes[: enough.index(True) + 2 if any(enough) else None]
        limits = {"seconds_left": self.seconds_left, "refused": self.refused}
        return Rungs(make, sizes, **limits)

    def _high(self):
        """The bandwidth that catches the initial velocity best, then more features."""
        num = HIGH_DIM[0]
        scores = {}
        for number, bandwidth in enumerate(LADDER):
            motion = self._motion(bandwidth, num, RUNGS + number)
            scores[bandwidth] = initial_score(motion, self.made)
            if scores[bandwidth] > 1e2 * min(scores.values()):
                break
        best = min(scores, key=lambda b: scores[b])
        for number, num in enumerate(HIGH_DIM):
            make = lambda _, num=num, number=number: self._motion(best, num, number)
            # Every other run steps finer, so that their difference shows the steps too.
            rungs = Rungs(make, [num], seconds_left=self.seconds_left)
            yield rungs, self.least * 3 ** (number % 2)

    def _motion(self, bandwidth: float, num: int, number: int) -> Galerkin:
        made = self.made
        field_key, point_key, key = jr.split(jr.fold_in(self.key, number), 3)
        unknown = feature_unknown(
            made.evolution, bandwidth, num, made.t0, made.args, field_key
        )
        # What points take a kink for depends on where they lie, and is small where two
        # runs agree on it.
        shift = (0.5 + GOLDEN * (number // RUNGS)) % 1
        points, weights = rule(
            made.evolution, points_for(made.evolution, bandwidth, num), shift
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


def unfitted(
    made: Setting | None,
    evolution: Evolution,
    miss: float,
    asked: float,
    key: Key,
    seconds_left: Callable[[], float],
    horizon: Horizon,
) -> str:
    """How near a field came to the initial values, and how many features would.

    **Arguments:**

    - `miss`, `asked`: relative L2 errors.
    """
    came = (
        f"The field misses the initial values by {miss:.1e}, relatively, and the "
        f"tolerance is {asked:.1e}."
    )
    if made is None or evolution.dim > 3:
        return f"{came} Make it wider."
    never: Any = lambda *_: None
    limits = {"seconds_left": seconds_left, "horizon": horizon, "named": False}
    rungs = Ladder(made, never, key, tolerance=asked, **limits).rungs(0)
    number = 0
    while True:
        motion = rungs[number]
        _, found = motion.start(jnp.asarray(made.t0), made.args)
        number += 1
        if found <= asked or not rungs.reaches(number):
            break
    num = len(motion.coefficients)
    return (
        f"{came} {num} sine features miss them by {float(found):.1e}: take a field "
        "of that many, or leave it out to let sobng choose."
    )
