"""One run of an evolution on one field, and how two of them differ."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.evolve.integrate import Trip


@dataclasses.dataclass
class Attempt:
    """A run, and its values at common times and points for comparison."""

    motion: Any
    trip: Trip
    miss: float
    seconds: float
    values: np.ndarray  # [times, n * out]
    times: np.ndarray
    facts: dict[str, Any]

    def whole(self, t1: float) -> bool:
        """Whether it reached the end."""
        return self.trip.reached >= t1 - 1e-9 * max(1.0, abs(t1))

    def difference(self, other: "Attempt") -> np.ndarray:
        """Relative L2 differences to another run, at the times that both reached."""
        num = min(len(self.values), len(other.values))
        apart = np.linalg.norm(self.values[:num] - other.values[:num], axis=1)
        size = np.linalg.norm(self.values[:num], axis=1)
        return apart / np.maximum(size, np.finfo(size.dtype).tiny)


@eqx.filter_jit
def _at(motion, t, y, points, look, args):
    field = motion.field(t, y, args)
    return jnp.ravel(jax.vmap(lambda x: look(field, x))(points))


def sampled(
    motion: Any, trip: Trip, times: np.ndarray, points: Any, look: Any, args: Any
) -> np.ndarray:
    """Values at the times that a run reached: `[times, n * out]`."""
    reached = times[times <= trip.reached + 1e-12 * max(1.0, abs(trip.reached))]
    kind = points.dtype
    values = [
        np.asarray(_at(motion, jnp.asarray(t, kind), trip.path(t), points, look, args))
        for t in reached
    ]
    return np.asarray(values)
