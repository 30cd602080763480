"""Where a run has been: the state at any time, by the solver's own interpolation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree


class Path(eqx.Module):
    """A trajectory in pieces, one for each accepted step."""

    ts: Float[np.ndarray, " times"]
    infos: PyTree
    start: Float[Array, " size"]
    piece: Callable = eqx.field(static=True)

    def __call__(self, t: Any) -> Float[Array, " size"]:
        """The state at one time between the first and the last."""
        if len(self.ts) == 1:
            return self.start
        t = np.clip(float(t), self.ts[0], self.ts[-1])
        index = int(np.clip(np.searchsorted(self.ts, t) - 1, 0, len(self.ts) - 2))
        info = jax.tree.map(lambda leaf: leaf[index], self.infos)
        return _evaluate(self.piece, self.ts[index], self.ts[index + 1], info, t)

    @property
    def end(self) -> Float[Array, " size"]:
        """The last state."""
        return self(self.ts[-1])


@eqx.filter_jit
def _evaluate(piece, t0, t1, info, t):
    kind = jnp.result_type(*jax.tree.leaves(info))
    kind = jnp.finfo(kind).dtype
    t0, t1, t = (jnp.asarray(time, kind) for time in (t0, t1, t))
    return piece(t0=t0, t1=t1, **info).evaluate(t)


def joined(start: Array, t0: float, ts: list, infos: list, piece: Callable) -> Path:
    """A path from what each segment of a run recorded."""
    if not ts:
        return Path(np.asarray([t0]), None, start, piece)
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos)
    return Path(np.concatenate([[t0], *ts]), stacked, start, piece)
