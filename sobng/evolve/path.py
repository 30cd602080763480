"""Where a run has been: the state at any time, by the solver's own interpolation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.once import once


class Path(eqx.Module):
    """A trajectory in pieces, one for each accepted step."""

    ts: Float[np.ndarray, " times"]
    infos: PyTree
    start: Float[Array, " size"]
    piece: Callable = eqx.field(static=True)
    whole: float | None = None  # where the last step would have ended without its event

    def __call__(self, t: Any) -> Float[Array, " size"]:
        """The state at one time between the first and the last."""
        if len(self.ts) == 1:
            return self.start
        t = np.clip(float(t), self.ts[0], self.ts[-1])
        index = int(np.clip(np.searchsorted(self.ts, t) - 1, 0, len(self.ts) - 2))
        info = jax.tree.map(lambda leaf: leaf[index], self.infos)
        end = self.ts[index + 1]
        if self.whole is not None and index == len(self.ts) - 2:
            end = np.asarray(self.whole, self.ts.dtype)
        return _evaluate(self.piece, self.ts[index], end, info, t)

    @property
    def end(self) -> Float[Array, " size"]:
        """The last state."""
        return self(self.ts[-1])


@once
def _evaluate(piece, t0, t1, info, t):
    kind = jnp.result_type(*jax.tree.leaves(info))
    kind = jnp.finfo(kind).dtype
    t0, t1, t = (jnp.asarray(time, kind) for time in (t0, t1, t))
    return piece(t0=t0, t1=t1, **info).evaluate(t)


def joined(
    start: Array,
    t0: float,
    ts: list,
    infos: list,
    piece: Callable,
    whole: float | None = None,
) -> Path:
    """A path from what each segment of a run recorded."""
    if not ts:
        return Path(np.asarray([t0]), None, start, piece)
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)
    return Path(np.concatenate([[t0], *ts]), stacked, start, piece, whole)


class Leg(eqx.Module):
    """A part of a run that was made on one motion."""

    motion: Any
    path: Path


class Route(eqx.Module):
    """A run in legs, one for each motion that it was made on."""

    legs: tuple[Leg, ...]
    stop: float | None = eqx.field(static=True, default=None)

    def until(self, stop: float) -> "Route":
        """The same up to an earlier time."""
        kept = [leg for leg in self.legs[1:] if leg.path.ts[0] < stop]
        return Route((self.legs[0], *kept), stop)

    def leg(self, t: float) -> Leg:
        """The leg that a time belongs to; where two meet, the later one."""
        starts = [leg.path.ts[0] for leg in self.legs]
        return self.legs[max(int(np.searchsorted(starts, t, side="right")) - 1, 0)]

    def field(self, t: float, args: PyTree) -> PyTree:
        """The field at one time."""
        leg = self.leg(t)
        state = leg.path(t)
        return leg.motion.field(jnp.asarray(t, state.dtype), state, args)

    @property
    def ts(self) -> Float[np.ndarray, " times"]:
        """The times of all steps."""
        later = [leg.path.ts[1:] for leg in self.legs[1:]]
        ts = np.concatenate([self.legs[0].path.ts, *later])
        return ts if self.stop is None else ts[ts <= self.stop]

    @property
    def start(self) -> float:
        """The first time."""
        return float(self.legs[0].path.ts[0])

    @property
    def end(self) -> float:
        """The last time that was reached."""
        last = float(self.legs[-1].path.ts[-1])
        return last if self.stop is None else min(last, self.stop)

    def slack(self, least: float) -> float:
        """By how much a time that was reached may lie outside, by rounding.

        **Arguments:**

        - `least`: relative to the last time.
        """
        eps = float(jnp.finfo(self.legs[0].path.start.dtype).eps)
        return max(least, 4 * eps) * max(1.0, abs(self.end))
