"""The linear part of a projected evolution, in coordinates that make it diagonal."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.evolve.galerkin import Galerkin
from sobng.evolve.rates import diagonalised, Rates
from sobng.evolve.taylor import derivatives, Orders, sensitivities, Taylor
from sobng.metrics.sobolev import Jet, VALUES
from sobng.once import once


PAD = 16
"""Real modes and pairs come in multiples of this."""


@once
def _slopes(found: Galerkin, t, y, args, jet: Jet):
    """The derivatives of what is seen of the right-hand side in those of the field:
    `[n, terms * out, orders, *out]`."""
    table, lift = found.table, found.lift_at(args)

    def at(x, partials):
        plus: Any = None if lift is None else lift(t)
        add = lambda v: v if plus is None else lambda x: v(x) + plus(x)
        rhs = lambda v: (
            lambda x: jnp.asarray(found.evolution.rhs(add(v), t, x, args), x.dtype)
        )
        see = lambda v, x: jet(rhs(v), x)
        return sensitivities(see, Taylor(x, partials, table.orders))

    return jax.vmap(at)(table.points, table.partials(y))


@once
def _constant(found: Galerkin, mean, orders: Orders):
    """The same for the operator with the given coefficients, `[out, orders, *out]`."""
    table = found.table
    index = jnp.asarray([table.orders.index(o) for o in orders])
    mean = mean.reshape(len(mean), len(table.orders), -1)[:, index]

    def operator(v, x):
        partials = derivatives(v, orders)(x).reshape(len(orders), -1)
        return jnp.tensordot(mean, partials, 2)

    def at(x, partials):
        see = lambda v, x: found.jet(lambda x: operator(v, x), x)
        return sensitivities(see, Taylor(x, partials, table.orders))

    zeros = jnp.zeros((table.entries.shape[1],), table.entries.dtype)
    return jax.vmap(at)(table.points, table.partials(zeros))


def in_modes(
    found: Galerkin,
    t0: float,
    t1: float,
    args: Any,
    orders: Orders,
    key: jax.Array,
    clean: int,
) -> Galerkin:
    """The same in coordinates that make the linear part diagonal, without modes that grow
    by noise.

    **Arguments:**

    - `t0`, `t1`: times at which the right-hand side is looked at.
    - `orders`: the derivatives that it reads.
    - `clean`: how many basis functions, the first ones, have derivatives without noise.
    """
    table, jet = found.table, found.jet
    size = table.entries.shape[1]
    kind = table.entries.dtype
    times = [jnp.asarray(t, kind) for t in (t0, t1)]
    y0, _ = found.start(times[0], args)
    # By NumPy, as JAX would compile each of these operations for each size.
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    y0 = np.asarray(y0)
    noise = np.linalg.norm(y0) * random.normal(size=size) / size**0.5
    noisy = np.asarray(y0 + noise, kind)
    trials = (times[0], y0), (times[1], y0), (times[0], noisy)
    slopes = [np.asarray(_slopes(found, t, y, args, jet)) for t, y in trials]
    now = slopes[0]
    reach = 1e3 * np.finfo(now.dtype).eps * np.max(np.abs(now))
    linear = all(np.max(np.abs(s - now)) <= reach for s in slopes[1:])
    if not linear:
        # What the points agree on: a linear part that stays one.
        if jet == VALUES:
            now = np.broadcast_to(np.mean(now, axis=0, keepdims=True), now.shape)
        else:
            values = np.asarray(_slopes(found, times[0], y0, args, VALUES))
            now = np.asarray(_constant(found, np.mean(values, axis=0), orders))
    out = 1 if table.out is None else table.out
    n, num = len(table.points), len(table.orders)
    now = now.reshape(n, -1, num, out)
    block = np.asarray(table.entries).reshape(num, n, out, size)
    rows = np.zeros((n, now.shape[1], size), now.dtype)
    for k in range(num):
        for p in range(out):
            rows += now[:, :, k, p, None] * block[k, :, None, p]
    rows = rows.reshape(-1, size)
    if found.walls is not None:
        back = found.walls.speed * found.walls.matrix
        rows = np.concatenate([rows, -np.asarray(back)])
    whole = np.asarray(found.project) @ rows
    rates, basis = diagonalised(whole.astype(np.float64))
    inverse = np.linalg.inv(basis)
    if _growth(rates) > 1 / (t1 - t0):
        smooth, _ = diagonalised(whole[:clean, :clean].astype(np.float64))
        most = max(_growth(smooth), 0.0) + 1 / (t1 - t0)
        rates, kept = rates.at_most(most)
        basis, inverse = basis[:, kept], inverse[kept]
    rates, basis, inverse = _padded(rates, basis, inverse)
    rates = jax.tree.map(lambda r: jnp.asarray(r, kind), rates)
    turn = lambda m: jnp.asarray(np.asarray(m) @ basis, kind)
    found = eqx.tree_at(
        lambda g: (
            g.table.entries,
            g.held_out.entries,
            g.coefficients,
            g.project,
            g.rates,
        ),
        found,
        (
            turn(table.entries),
            turn(found.held_out.entries),
            turn(found.coefficients),
            jnp.asarray(inverse @ np.asarray(found.project), kind),
            rates,
        ),
    )
    if found.walls is not None:
        matrix = turn(found.walls.matrix)
        found = eqx.tree_at(lambda g: g.walls.matrix, found, matrix)
    return found


def _growth(rates: Rates) -> float:
    """The largest rate of growth."""
    both = np.concatenate([rates.real, rates.decay])
    return float(np.max(both, initial=-np.inf))


def _padded(
    rates: Rates, basis: np.ndarray, inverse: np.ndarray
) -> tuple[Rates, np.ndarray, np.ndarray]:
    """The same with modes that stay at zero, so that sizes repeat from run to run.

    Each size is compiled once, and how many functions are left of random features is
    a little random.
    """
    real, pairs = rates.real.size, rates.decay.size
    more, many = -real % PAD, -pairs % PAD
    ends = np.cumsum([real, pairs, pairs])
    added = np.repeat(ends, [more, many, many])
    return (
        Rates(
            jnp.asarray(np.pad(rates.real, (0, more))),
            jnp.asarray(np.pad(rates.decay, (0, many))),
            jnp.asarray(np.pad(rates.turn, (0, many))),
        ),
        np.insert(basis, added, 0, axis=1),
        np.insert(inverse, added, 0, axis=0),
    )
