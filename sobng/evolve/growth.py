"""One run on frozen features, replaced by more of them as soon as they miss too much."""

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from sobng.evolve.blow_up import blows_up, GROWN
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.integrate import defects, Trip
from sobng.evolve.projection import Setting
from sobng.results import RESULTS


IMPROVES = 0.5
"""More features are of use if they miss less than this part."""

ROOM = 0.1
"""The part of what is allowed that new features may miss to begin with."""

FLOOR = 3.0
"""Where more features are of no use, this multiple of what is missed is allowed."""

ROUNDING = 1e4
"""In units of rounding, what initial values may be missed by whatever is asked for."""

VAIN, GAINS = 2, 0.9
"""So many larger sets of features that leave more than this part of the misfit of initial
values are the last ones."""

SHARE = 0.3
"""The part of the time left that more features may take to be made."""


class Watch:
    r"""How much of the right-hand side may be missed, in its own units.

    What is missed adds to the error at its own rate: `level` times the size of the field
    in the time of the run. More is allowed while no features could do better.
    """

    def __init__(self, level: float, horizon: float):
        self.level = level
        self.horizon = horizon
        self.floor, self.fresh = 0.0, False

    def missed(self, look: np.ndarray) -> float:
        """The relative error at the end, of what is missed all the time."""
        return self.horizon * float(look[0]) / self._size(look)

    def __call__(self, look: np.ndarray) -> float:
        if not self.fresh:
            self.floor = min(self.floor, FLOOR * float(look[0]))
        self.fresh = False
        return max(self.level * self._size(look) / self.horizon, self.floor)

    def allow(self, look: np.ndarray) -> None:
        """Goes on although so much is missed."""
        self.floor, self.fresh = FLOOR * float(look[0]), True

    def _size(self, look: np.ndarray) -> float:
        """Of the field; one that starts at zero is measured by where it goes."""
        _, asked, size = (float(part) for part in look)
        return max(size, 1e-3 * self.horizon * asked, np.finfo(float).tiny)


class Rungs:
    """Ever more features, each made when it is first asked for, and while there is time."""

    def __init__(
        self,
        make: Callable[[int], Galerkin],
        sizes: Sequence[int],
        *,
        seconds_left: Callable[[], float],
        refused: Callable[[Callable[[], bool]], bool] = lambda late: late(),
    ):
        """**Arguments:**

        - `make`: from the number of a rung to its motion.
        - `sizes`: how many features the rungs have.
        - `seconds_left`: the time limit, counted down.
        - `refused`: asks whether there is too little time, or says what a run before this
            one did.
        """
        self.make, self.sizes = make, sizes
        self.seconds_left, self.refused = seconds_left, refused
        self.made: dict[int, Galerkin] = {}
        self.seconds: dict[int, float] = {}
        self.late = False

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, number: int) -> Galerkin:
        if number not in self.made:
            begun = self.seconds_left()
            self.made[number] = self.make(number)
            if np.isfinite(begun):
                self.seconds[number] = begun - self.seconds_left()
        return self.made[number]

    def reaches(self, number: int) -> bool:
        """Whether there is such a rung, and time to make it."""
        if number >= len(self) or self.late:
            return number in self.made
        if number not in self.made:
            self.late = self.refused(lambda: self._expected(number) > self._allowed())
        return not self.late

    def _allowed(self) -> float:
        """Another run has to make as many, and both have to step them."""
        return SHARE * self.seconds_left()

    def _expected(self, number: int) -> float:
        """Seconds that a rung takes to make, by those of the largest one that is there."""
        if not self.seconds:
            return 0.0
        last = max(self.seconds)
        return self.seconds[last] * (self.sizes[number] / self.sizes[last]) ** 3


def grown(
    made: Setting, rungs: Rungs, level: float, go: Callable[..., Trip]
) -> tuple[list[Galerkin], list[Trip], float]:
    """The legs of a run, and the misfit of the initial values.

    **Arguments:**

    - `level`: the relative L2 error that is aimed at.
    - `go`: `go(motion, t, y, dt0, allowed)` integrates.
    """
    watch = Watch(level, made.t1 - made.t0)
    rung, y, miss = _first(made, rungs, watch)
    time, step = made.t0, None
    legs, trips = [], []
    while True:
        motion = rungs[rung]
        last = rung + 1 == len(rungs) or rungs.late
        trip = go(motion, time, y, step, None if last else watch)
        ends = last or bool(trip.result != RESULTS.unresolved)
        moved = len(trip.path.ts) > 1
        if ends or moved:
            legs.append(motion)
            trips.append(trip)
        # More and more features would follow it for ever less time. Not asked while
        # these do: what grows so may still come to rest.
        if not ends and moved and blows_up(*_sizes(trips), made.t1, GROWN):
            trips[-1] = dataclasses.replace(trips[-1], result=RESULTS.blew_up)
            ends = True
        if ends:
            trip = trips[-1]
            if rungs.late and bool(trip.result == RESULTS.unresolved):
                late = RESULTS.time_limit_reached
                trips[-1] = dataclasses.replace(trip, result=late)
            return legs, trips, miss
        time, step = trip.reached, trip.step
        rung, y = _better(made, rungs, watch, rung, trip)


def _sizes(trips: Sequence[Trip]) -> tuple[np.ndarray, np.ndarray]:
    """The times of some legs, and the sizes of the field."""
    ts = np.concatenate([trip.path.ts for trip in trips])
    return ts, np.concatenate([trip.looks[:, 2] for trip in trips])


def _first(made, rungs, watch):
    """The first features that hold the initial values and follow their velocity."""
    rung, found, rates = 0, [], [np.inf]
    while True:
        y, miss = rungs[rung].start(jnp.asarray(made.t0), made.args)
        found.append((rung, y, float(miss)))
        rates.append(watch.missed(look_at(rungs[rung], made.t0, y, made.args)))
        enough = max(watch.level, ROUNDING * float(jnp.finfo(y.dtype).eps))
        if float(miss) <= enough:
            follows = rates[-1] <= watch.level or rates[-1] > IMPROVES * rates[-2]
            if follows or _too_slow(rates[1:], len(rungs) - rung - 1, watch.level):
                return found[-1]
        else:
            misses = [miss for _, _, miss in found]
            # Even a kink is held better by so many more.
            if len(found) > VAIN and min(misses[-VAIN:]) > GAINS * min(misses[:-VAIN]):
                return found[int(np.argmin(misses))]
        if not rungs.reaches(rung + 1):
            return found[-1]
        rung += 1


def _too_slow(missed: Sequence[float], left: int, enough: float) -> bool:
    """Whether so many more rungs that gain like the last ones would not do.

    Where a right-hand side contradicts a wall its features converge slowly, and it is
    smooth a moment later.
    """
    if len(missed) < 3:
        return False
    gains = np.divide(missed[-2:], missed[-3:-1])
    return bool(missed[-1] * np.min(gains) ** left > enough)


def _better(made, rungs, watch, rung, trip):
    """More features that follow better, if there are any, and the state on them."""
    # Compared after the step that missed too much, begun again before it.
    time, y, look = trip.beyond
    field = rungs[rung].field(time, y, made.args)
    best, first = watch.missed(look), rung
    more = lambda: rung == first or best > ROOM * watch.level
    while more() and rungs.reaches(rung + 1):
        other = rungs[rung + 1]
        missed = watch.missed(
            look_at(other, time, other.fit(field, time, made.args)[0], made.args)
        )
        if missed > IMPROVES * best:
            break
        rung, best = rung + 1, missed
    if rung == first:
        watch.allow(look)
        return rung, trip.path.end
    field = rungs[first].field(trip.reached, trip.path.end, made.args)
    return rung, rungs[rung].fit(field, trip.reached, made.args)[0]


def look_at(motion, t, y, args) -> np.ndarray:
    """Root mean squares of one state, as in `defect`."""
    squares = defects(motion, jnp.asarray(t, y.dtype)[None], y[None], args)
    return np.sqrt(np.asarray(squares[0]))
