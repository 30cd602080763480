"""What the user gets of an evolution: a function of time and space."""

import os
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.evolve.path import Route
from sobng.once import lean
from sobng.plotting.strip import plot_strip
from sobng.results import RESULTS
from sobng.solution import Facts, Solution


class Evolved(eqx.Module):
    """An evolution that was solved: a function of `(t, x)`, with what is known about it.

    - `result`: why the run ended; `message` says it in words.
    - `ts`: the saved times, by default seventeen from the first to the last.
    - `ys`: what `saveat.fn` said at each of them, stacked; `None` without a `saveat`.
    - `errors`: at each of them an estimate of the relative L2 error, `nan` where there
      is none.
    - `error`: the estimate at the last time, or `None`, and then `error_reason` says why.
    - `stats`: steps, seconds, sizes, which fields were tried, and by how much what was
      to be conserved has drifted.
    - `history`: one number for each step: `time`, `defect` (what the field could not
      follow of the right-hand side, relatively, on held-out points), `speed` and `size`
      (root mean squares of the right-hand side and of the field).
    - `field`: the field at the last time.
    """

    route: Route
    args: PyTree
    field: PyTree
    result: RESULTS
    ts: PyTree[Float[np.ndarray, " _"]]
    ys: PyTree
    errors: PyTree[Float[np.ndarray, " _"]]
    error: float | None
    error_reason: str
    stats: Facts
    history: Facts
    event_mask: PyTree
    evolution: Any

    def __init__(
        self,
        route: Route,
        args: PyTree,
        *,
        result: Any,
        ts: np.ndarray,
        errors: np.ndarray,
        error: float | None,
        error_reason: str,
        stats: Mapping[str, Any],
        history: Mapping[str, Any],
        evolution: Any,
        ys: PyTree = None,
        event_mask: PyTree = None,
    ):
        """**Arguments:** as the attributes of the same names; `route` is the field at all
        times, by how it was moved.
        """
        self.route = route
        self.args = args
        self.result = result
        self.ts = ts
        self.ys = ys
        self.errors = errors
        self.error = error
        self.error_reason = error_reason
        self.stats = Facts(stats)
        self.history = Facts({k: np.asarray(v) for k, v in history.items()})
        self.event_mask = event_mask
        self.evolution = evolution
        self.field = self.at(self.t1)

    @property
    def t0(self) -> float:
        """The first time."""
        return self.route.start

    @property
    def t1(self) -> float:
        """The last time that was reached."""
        return self.route.end

    @property
    def domain(self) -> Any:
        """Where in space."""
        return self.evolution.domain

    @property
    def message(self) -> str:
        """Why the run ended, in words."""
        said = str(RESULTS[self.result])  # pyright: ignore (an enumeration of Equinox)
        return said or "The last time was reached."

    def at(self, t: Any) -> PyTree:
        """The field at one time, a function of one point of space.

        **Raises:** `ValueError` for a time that was not reached.
        """
        time = float(t)
        slack = self.route.slack(1e-9)
        if not self.t0 - slack <= time <= self.t1 + slack:
            raise ValueError(
                f"The solution is known from t={self.t0:g} to t={self.t1:g}. Got t={time:g}."
            )
        return self.route.field(time, self.args)

    def __call__(self, t: Any, x: Any) -> Array:
        """The values at times and points.

        **Arguments:**

        - `t`: one time, or times of any shape.
        - `x`: points of space, of shape `(..., dim)`.

        **Returns:** shape `(*t.shape, ...)`, with the components last for a system.

        **Raises:** `ValueError` for points of another dimension, or a time that was not
        reached.
        """
        times = np.asarray(t, float)
        x = jnp.asarray(x, self.route.legs[0].path.start.dtype)
        dim = self.domain.dim
        if x.ndim == 0 or x.shape[-1] != dim:
            raise ValueError(
                f"Points of space have shape (..., {dim}). Got shape {x.shape}. Time is "
                "the first argument."
            )
        values = [_values(self.at(time), x) for time in times.ravel()]
        return jnp.stack(values).reshape(*times.shape, *values[0].shape)

    def snapshot(self, t: Any = None) -> Solution:
        """A [`sobng.Solution`][] in space at one time, the last by default; it can be
        saved, plotted and exported."""
        last = t is None
        found = self.error if last else float(self.errors_at([float(t)])[0])
        error = None if found is None or not np.isfinite(found) else found
        return Solution(
            self.field if last else self.at(t),
            result=self.result,
            stats=self.stats,
            history=self.history,
            error=error,
            error_reason=self.error_reason,
            domain=self.domain,
        )

    def errors_at(self, times: Any) -> Float[np.ndarray, " times"]:
        """The estimated relative L2 errors at other times, between those at `ts`.

        **Arguments:**

        - `times`: an array of times.
        """
        ts, errors = (
            np.concatenate(jax.tree.leaves(tree)) for tree in (self.ts, self.errors)
        )
        known = np.isfinite(errors)
        if not np.any(known):
            return np.full(len(times), np.nan)
        ts, index = np.unique(ts[known], return_index=True)
        times, last = np.asarray(times, float), ts[-1] + self.route.slack(0.0)
        times = np.where(times <= last, np.minimum(times, ts[-1]), times)
        return np.interp(times, ts, errors[known][index], right=np.nan)

    def save(self, path: str | os.PathLike, t: Any = None) -> None:
        """Writes the snapshot at one time, the last by default; see
        [`sobng.Solution.save`][]."""
        self.snapshot(t).save(path)

    def plot(self, *, num: int = 5, path: Any = None):
        """A strip of snapshots.

        **Arguments:**

        - `num`: how many times.
        - `path`: a file to write it to, for instance a PNG.

        **Returns:** a Matplotlib figure.
        """
        times = np.linspace(self.t0, self.t1, num)
        return plot_strip([(t, self.at(t)) for t in times], self.domain, path=path)

    def __repr__(self) -> str:
        size = "not estimated" if self.error is None else f"{self.error:.1e}"
        return (
            f"Evolved(t={self.t0:g} to {self.t1:g}, error={size}, "
            f"steps={self.stats.get('num_steps')}, "
            f"result={self.message.partition('. ')[0]!r})"
        )


@lean
def _values(field: PyTree, x: Array) -> Array:
    found = jax.vmap(field)(x.reshape(-1, x.shape[-1]))
    return found.reshape(*x.shape[:-1], *found.shape[1:])
