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
    """Ever more features, each made when it is first asked for."""

    def __init__(self, make: Callable[[int], Galerkin], num: int):
        self.make = make
        self.num = num
        self.made: dict[int, Galerkin] = {}

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, number: int) -> Galerkin:
        if number not in self.made:
            self.made[number] = self.make(number)
        return self.made[number]


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
        last = rung + 1 == len(rungs)
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
            return legs, trips, miss
        time, step = trip.reached, trip.step
        rung, y = _better(made, rungs, watch, rung, trip)


def _sizes(trips: Sequence[Trip]) -> tuple[np.ndarray, np.ndarray]:
    """The times of some legs, and the sizes of the field."""
    ts = np.concatenate([trip.path.ts for trip in trips])
    return ts, np.concatenate([trip.looks[:, 2] for trip in trips])


def _first(made, rungs, watch):
    """The first features that hold the initial values and follow their velocity."""
    before = np.inf
    for rung in range(len(rungs)):
        y, miss = rungs[rung].start(jnp.asarray(made.t0), made.args)
        missed = watch.missed(look_at(rungs[rung], made.t0, y, made.args))
        enough = max(watch.level, ROUNDING * float(jnp.finfo(y.dtype).eps))
        follows = missed <= watch.level or missed > IMPROVES * before
        before = missed
        if (float(miss) <= enough and follows) or rung + 1 == len(rungs):
            return rung, y, float(miss)
    raise AssertionError("there is at least one rung")


def _better(made, rungs, watch, rung, trip):
    """More features that follow better, if there are any, and the state on them."""
    # Compared after the step that missed too much, begun again before it.
    time, y, look = trip.beyond
    field = rungs[rung].field(time, y, made.args)
    best, first = watch.missed(look), rung
    while rung + 1 < len(rungs) and (rung == first or best > ROOM * watch.level):
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
