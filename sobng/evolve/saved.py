"""What a `diffrax.SaveAt` asks of a solution."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.evolve.horizon import SAVED
from sobng.evolve.solution import Evolved


def times_of(saveat: Any, t0: float, t1: float) -> np.ndarray:
    """The times at which errors are estimated: even ones, to see an error pass the
    tolerance, and those named."""
    asked = [] if saveat is None else jax.tree.leaves(saveat.subs, is_leaf=_is_sub)
    named = [np.asarray(s.ts, float) for s in asked if s.ts is not None]
    even = np.linspace(t0, t1, SAVED)
    if not named:
        return even
    times = np.unique(np.concatenate(named))
    rounding = (
        4 * float(jnp.finfo(jnp.result_type(float)).eps) * max(1.0, abs(t0), abs(t1))
    )
    if times[0] < t0 - rounding or times[-1] > t1 + rounding:
        raise ValueError(
            f"`saveat` asks for times outside of the run, from t0={t0:g} to t1={t1:g}. "
            f"Got {times[0]:g} to {times[-1]:g}."
        )
    return np.unique([*even, *np.clip(times, t0, t1)])


def saved(found: Evolved, saveat: dfx.SaveAt) -> Evolved:
    """The solution with the times, values and errors that were asked for."""
    if saveat.subs is None:  # `dense` or `solver_state` alone ask for no times
        return found
    ts = jax.tree.map(lambda s: _times(found, s), saveat.subs, is_leaf=_is_sub)
    ys = jax.tree.map(
        lambda s, ts: _values(found, s.fn, ts), saveat.subs, ts, is_leaf=_is_sub
    )
    errors = jax.tree.map(found.errors_at, ts)
    return eqx.tree_at(
        lambda e: (e.ts, e.ys, e.errors),
        found,
        (ts, ys, errors),
        is_leaf=lambda e: e is None,
    )


def _is_sub(node: Any) -> bool:
    return isinstance(node, dfx.SubSaveAt)


def _times(found: Evolved, sub: dfx.SubSaveAt) -> np.ndarray:
    """The times of one request that were reached."""
    steps = found.route.ts[sub.steps :: sub.steps] if sub.steps else []
    named = [] if sub.ts is None else np.asarray(sub.ts, float)
    ends = [found.t0] * sub.t0 + [found.t1] * sub.t1
    times = np.unique(np.concatenate([steps, named, ends]))
    reached = times[times <= found.t1 + found.route.slack(0.0)]
    return np.unique(np.minimum(reached, found.t1))  # as far as was stepped


def _values(found: Evolved, function: Any, times: np.ndarray) -> PyTree:
    """What a function says of the field at each time, stacked."""
    at = eqx.filter_jit(lambda t, y, args: function(t, y, args))
    fields = alike([found.at(t) for t in times])
    values = [
        at(jnp.asarray(t), field, found.args)
        for t, field in zip(times, fields, strict=True)
    ]
    if not values:
        return None
    arrays, rest = zip(*(eqx.partition(v, eqx.is_array) for v in values), strict=True)
    return eqx.combine(jax.tree.map(lambda *a: jnp.stack(a), *arrays), rest[0])


def alike(fields: list[PyTree]) -> list[PyTree]:
    """Fields of the same shapes: those of fewer features get some without weight."""
    arrays, rest = eqx.partition(fields, eqx.is_array)
    if not fields:
        return fields

    def padded(*leaves):
        most = np.max([leaf.shape for leaf in leaves], axis=0)
        wide = lambda a: [(0, m - n) for m, n in zip(most, a.shape, strict=True)]
        return [a if a.shape == tuple(most) else jnp.pad(a, wide(a)) for a in leaves]

    columns = [padded(*c) for c in zip(*map(jax.tree.leaves, arrays), strict=True)]
    leaves = zip(*columns, strict=True) if columns else ([] for _ in fields)
    made = [
        jax.tree.unflatten(jax.tree.structure(array), new)
        for array, new in zip(arrays, leaves, strict=True)
    ]
    return eqx.combine(made, rest)
