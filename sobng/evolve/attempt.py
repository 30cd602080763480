"""One run of an evolution, and how two of them differ."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sobng.evolve.blow_up import GROWN
from sobng.evolve.integrate import Trip
from sobng.evolve.path import Leg, Path, Route
from sobng.once import once
from sobng.results import RESULTS


@dataclasses.dataclass
class Attempt:
    """A run to a level, and its values at common times and points for comparison."""

    route: Route
    trips: tuple[Trip, ...]  # one for each leg
    miss: float
    level: float
    seconds: float
    values: np.ndarray  # [times, n * out]
    times: np.ndarray

    @property
    def result(self) -> Any:
        """Why it ended."""
        return self.trips[-1].result

    @property
    def complete(self) -> bool:
        """Whether it reached the end, an event of the user or a singularity."""
        ends = (RESULTS.successful, RESULTS.event_occurred)
        return self.singular or any(bool(self.result == end) for end in ends)

    @property
    def whole(self) -> bool:
        """Whether it can still be evaluated, with its tables and states."""
        return self.route.legs[0].motion is not None

    @property
    def singular(self) -> bool:
        """Whether the solution itself blows up, and not the motion of its features."""
        return self.grew and bool(self.result == RESULTS.blew_up)

    @property
    def grew(self) -> bool:
        """Whether the field became much larger, as it does before it blows up."""
        size = self.looks[:, 2]
        return bool(size[-1] > GROWN * size[0] > 0)  # zero tells nothing

    @property
    def steps(self) -> int:
        """Accepted steps."""
        return sum(trip.steps for trip in self.trips)

    @property
    def looks(self) -> np.ndarray:
        """Root mean squares at all times, as in `defect`."""
        later = [trip.looks[1:] for trip in self.trips[1:]]
        return np.concatenate([self.trips[0].looks, *later])

    @property
    def missed(self) -> float:
        """What was missed of the right-hand side, added up, relative to the field."""
        tiny = np.finfo(float).tiny
        rate = self.looks[:, 0] / np.maximum(self.looks[:, 2], tiny)
        return float(np.trapezoid(rate, self.route.ts))

    def bare(self) -> "Attempt":
        """The same without its tables and states, which take most of the memory of a run:
        it can be compared, and not evaluated."""
        paths = [Path(t.path.ts, None, t.path.start, t.path.piece) for t in self.trips]
        trips = tuple(
            dataclasses.replace(
                trip, path=path, event_mask=None, step=None, beyond=None
            )
            for trip, path in zip(self.trips, paths, strict=True)
        )
        route = Route(tuple(Leg(None, path) for path in paths))
        return dataclasses.replace(self, route=route, trips=trips)

    def at(
        self, times: np.ndarray, values: Callable[[Any], Any], args: Any
    ) -> "Attempt":
        """The same, to be compared at other times.

        **Arguments:**

        - `values`: what is compared of a field.
        """
        end = self.route.end
        reached = times[times <= end + self.route.slack(1e-12)]
        found = [values(self.route.field(min(float(t), end), args)) for t in reached]
        return dataclasses.replace(
            self, values=np.asarray([np.asarray(v) for v in found]), times=times
        )

    def difference(self, other: "Attempt") -> np.ndarray:
        """Relative L2 differences to another run, at the times that both reached."""
        num = min(len(self.values), len(other.values))
        apart = np.linalg.norm(self.values[:num] - other.values[:num], axis=1)
        size = np.linalg.norm(self.values[:num], axis=1)
        return apart / np.maximum(size, np.finfo(size.dtype).tiny)


def attempted(
    motions: Sequence[Any],
    trips: Sequence[Trip],
    miss: Any,
    level: float,
    seconds: float,
    *,
    times: np.ndarray,
    values: Callable[[Any], Any],
    args: Any,
) -> Attempt:
    """A run from its legs.

    **Arguments:**

    - `times`, `values`: where runs are compared, and what of a field.
    """
    legs = zip(motions, trips, strict=True)
    route = Route(tuple(Leg(motion, trip.path) for motion, trip in legs))
    empty = np.zeros((0, 0))
    found = Attempt(route, tuple(trips), float(miss), level, seconds, empty, times)
    return found.at(times, values, args)


@once
def values_at(field: Any, points: Any, look: Any) -> Any:
    """What `look(field, x)` says at some points, as one vector."""
    return jnp.ravel(jax.vmap(lambda x: look(field, x))(points))
