"""From an evolution and a field to its projection on frozen features."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PyTree

from sobng.chunks import chunked
from sobng.evolve.galerkin import Galerkin, Table, wall_rows, Walls
from sobng.evolve.linear_part import in_modes
from sobng.evolve.rates import Rates
from sobng.evolve.taylor import (
    by_order,
    derivatives,
    needed_orders,
    Orders,
    orders_of_derivatives,
)
from sobng.evolve.walls import (
    at_time,
    has_moments,
    left_over,
    Nothing,
)
from sobng.fields.constrained import Constrained
from sobng.fields.partition import combine, linear_leaves, partition
from sobng.metrics.sobolev import Jet, VALUES
from sobng.once import lean, once
from sobng.problem import Evolution


CUT = 0.77
"""Directions are kept whose size is above this power of the rounding unit, relatively.

Smaller ones would be orthogonal to rounding of their own: their derivatives are noise."""

CLEAN = 0.4
"""The same for functions whose derivatives are right to several digits: what grows faster
than all of these is noise, which a wave equation would let grow by any factor."""

FIRM = 1e3
"""How much heavier boundary rows are than the equation's."""

RETURN = 100.0
"""How often boundary rows forget their error by a factor of e, during a run."""


def lift_of(unknown: PyTree, points: Float[Array, "n dim"]) -> Any:
    """The unknown without its features: a function of a point, or `None` for zero."""
    lift = unknown
    if isinstance(unknown, Constrained) and not bool(_anything(unknown.field, points)):
        if unknown.lift is None:
            return None
        nothing = Nothing(unknown.dim, unknown.out)
        lift = eqx.tree_at(lambda u: u.field, unknown, nothing)
    if has_moments(unknown):
        return lift
    return lift if bool(_anything(unknown, points)) else None


@once
def _anything(field: Any, points: Float[Array, "n dim"]) -> Array:
    return jnp.any(jax.vmap(field)(points))


class Setting(eqx.Module):
    """What all projections of one evolution share, whatever their features are."""

    evolution: Evolution
    orders: Orders = eqx.field(static=True)
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    args: Any
    jet: Jet = VALUES


def setting(
    evolution: Evolution,
    unknown: PyTree,
    t0: float,
    t1: float,
    args: Any,
    key: Any,
    also: Orders = (),
    jet: Jet = VALUES,
) -> Setting | None:
    """Looks at the right-hand side; `None` if it is no differential operator of an order
    that is looked for, or if what a boundary condition says of the unknown changes in
    time, for which rows that are factorised once are of no use.

    **Arguments:**

    - `unknown`: a field of any size that obeys the boundary conditions.
    - `also`: derivatives that are needed for other things.
    - `jet`: what the metric sees of a function.
    """
    params, rest = partition(unknown)
    flat, unravel = jfu.ravel_pytree(params)
    trials = [
        combine(unravel(flat + jax.random.normal(k, flat.shape, flat.dtype)), rest)
        for k in jax.random.split(key)
    ]
    start = jnp.asarray(t0, flat.dtype)
    points, _ = evolution.domain.interior.sample(8, key)
    rhs = lambda u, x: evolution.rhs(u, start, x, args)
    if walls_change(evolution, unknown, (t0, args), (t0 + 0.7 * (t1 - t0), args)):
        return None
    orders = needed_orders(rhs, trials, jnp.asarray(points, flat.dtype))
    if orders is None:
        return None
    return Setting(evolution, by_order({*orders, *also}), t0, t1, args, jet)


def walls_change(evolution: Evolution, unknown: PyTree, one: Any, other: Any) -> bool:
    """Whether the left-hand sides of boundary conditions differ between two times with
    arguments."""
    conditions = left_over(evolution, unknown)
    if not conditions or not any(jax.tree.leaves(linear_leaves(unknown))):
        return False
    kind = jnp.result_type(*jax.tree.leaves(partition(unknown)[0]))
    points = tuple(_wall_points(c, 8, kind) for c in conditions)
    first, second = (
        _wall_matrix(unknown, conditions, points, jnp.asarray(t, kind), args)
        for t, args in (one, other)
    )
    reach = jnp.finfo(kind).eps ** 0.5 * jnp.max(jnp.abs(first))
    return not bool(jnp.max(jnp.abs(second - first)) <= reach)


@lean
def _features(unknown: PyTree, points, orders: Orders):
    """Derivatives of all features at points: `[orders, n, *out, params]`."""
    leaves, rest = eqx.partition(unknown, linear_leaves(unknown))
    flat, unravel = jfu.ravel_pytree(leaves)

    def at(x):
        slopes = lambda c: derivatives(combine(unravel(c), rest), orders)(x)
        return jax.jacrev(slopes)(flat)

    return jnp.moveaxis(chunked(at, 256, points), 1, 0)


def _seen(jet: Jet, features: np.ndarray, orders: Orders, points) -> np.ndarray:
    """What the metric sees of all features: `[n * terms * out, params]`."""
    dim = points.shape[1]
    index = [orders.index(tuple(map(a.count, range(dim)))) for a, _ in jet.terms]
    roots = np.asarray([root for _, root in jet.terms], features.dtype)
    terms = np.moveaxis(features[index], 0, 1)  # [n, terms, *out, params]
    density = 1 if jet.density is None else np.asarray(jax.vmap(jet.density)(points))
    scale = np.sqrt(density).reshape(-1, 1) * roots
    flat = terms.reshape(*terms.shape[:2], -1, terms.shape[-1])
    return (scale[:, :, None, None] * flat).reshape(-1, terms.shape[-1])


@once
def _wall_matrix(unknown: PyTree, conditions, points, t, args):
    leaves, rest = eqx.partition(unknown, linear_leaves(unknown))
    flat, unravel = jfu.ravel_pytree(leaves)
    make = lambda c: combine(unravel(c), rest)
    rows = lambda c: wall_rows(conditions, points, make(c), t, args)
    return jax.jacfwd(rows)(flat)


def galerkin(
    made: Setting,
    unknown: PyTree,
    points: Float[np.ndarray, "n dim"],
    weights: Float[np.ndarray, " n"],
    held_out: Float[np.ndarray, "m dim"],
    key: jax.Array,
) -> Galerkin:
    """The projected evolution on the features of a field.

    The linear algebra of the set-up runs on the host, once.
    """
    evolution, out, jet = made.evolution, made.evolution.out, made.jet
    leaves, rest = eqx.partition(unknown, linear_leaves(unknown))
    blank = combine(jax.tree.map(jnp.zeros_like, leaves), rest)
    dtype = jnp.result_type(*jax.tree.leaves(leaves))
    inside, seen_at = (jnp.asarray(p, dtype) for p in (points, held_out))
    start = jnp.asarray(made.t0, dtype)
    terms = tuple(tuple(map(a.count, range(evolution.dim))) for a, _ in jet.terms)
    orders = orders_of_derivatives(made.orders, terms)
    features = np.asarray(_features(blank, inside, orders))
    seen = np.asarray(_features(blank, seen_at, made.orders))
    scale = np.sqrt(np.repeat(np.asarray(weights, dtype), len(terms) * (out or 1)))
    conditions = left_over(evolution, unknown)
    wall_points = tuple(_wall_points(c, len(points), dtype) for c in conditions)
    firm, matrix, free = np.zeros((0,), dtype), None, None
    if conditions:
        rows = _wall_matrix(blank, conditions, wall_points, start, made.args)
        matrix = np.asarray(rows)
        if _homogeneous(made, blank, conditions, wall_points):
            # Combinations that obey them do so at all times.
            free, matrix = _null_space(matrix), None
            features, seen = features @ free, seen @ free
    stack = _seen(jet, features, orders, inside) * scale[:, None]
    if matrix is not None:
        ratio = np.linalg.norm(stack) / np.linalg.norm(matrix)
        firm = np.full((len(matrix),), FIRM * ratio, dtype)
        stack = np.concatenate([stack, firm[:, None] * matrix])
    frame, coefficients, clean = _orthonormal(stack)
    project = frame.T * np.concatenate([scale, firm])
    plain = np.repeat(np.asarray(weights, dtype), out or 1)
    lift = lift_of(blank, inside[:64])
    table, watch = (
        Table(p, jnp.asarray(f.reshape(-1, f.shape[-1]) @ coefficients), o, out)
        for p, f, o in ((inside, features, orders), (seen_at, seen, made.orders))
    )
    walls = None
    if matrix is not None:
        speed = jnp.asarray(RETURN / (made.t1 - made.t0), dtype)
        change = jnp.asarray(matrix @ coefficients)
        walls = Walls(change, wall_points, conditions, speed, out)
    zeros = jnp.zeros((coefficients.shape[1],), dtype)
    found = Galerkin(
        evolution=evolution,
        unknown=blank,
        lift=lift,
        table=table,
        held_out=watch,
        weights=jnp.asarray(np.concatenate([plain, firm**2])),
        project=jnp.asarray(project),
        walls=walls,
        jet=jet,
        coefficients=jnp.asarray(coefficients if free is None else free @ coefficients),
        rates=Rates(zeros, zeros[:0], zeros[:0]),
        moving=has_moments(unknown),
    )
    return in_modes(found, made.t0, made.t1, made.args, made.orders, key, clean)


def _wall_points(condition: Any, num: int, dtype: Any) -> Float[Array, "n dim"]:
    dim = condition.region.dim
    count = max(1, round(4 * num ** ((dim - 1) / dim)))
    return jnp.asarray(condition.region.quadrature(count)[0], dtype)


def _homogeneous(made: Setting, blank: PyTree, conditions: Any, points: Any) -> bool:
    """Whether the conditions ask for zero, at some times that no period meets."""
    for part in (0.0, 0.373, 0.717, 1.0):
        t = jnp.asarray(made.t0 + part * (made.t1 - made.t0), points[0].dtype)
        rows = wall_rows(conditions, points, at_time(blank, t, made.args), t, made.args)
        if bool(jnp.any(rows)):
            return False
    return True


def _null_space(matrix: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a matrix takes to zero, but for rounding."""
    found: Any = scipy.linalg.qr(matrix.T, pivoting=True)
    frame, triangle, _ = found
    sizes = np.abs(np.diag(triangle))
    least = matrix.shape[1] * np.finfo(matrix.dtype).eps * sizes[0]
    return frame[:, int(np.sum(sizes > least)) :]


def _orthonormal(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """An orthonormal basis of the columns that are not noise, its coefficients, and how
    many of its functions, the first ones, have derivatives without noise too."""
    # Pivots are sought in the triangle, which is smaller.
    whole, small = np.linalg.qr(stack)
    found: Any = scipy.linalg.qr(small, pivoting=True)
    turn, triangle, order = found
    sizes = np.abs(np.diag(triangle))
    eps = np.finfo(stack.dtype).eps
    rank, clean = (int(np.sum(sizes > eps**part * sizes[0])) for part in (CUT, CLEAN))
    inverse = scipy.linalg.solve_triangular(
        triangle[:rank, :rank], np.eye(rank, dtype=stack.dtype)
    )
    coefficients = np.zeros((stack.shape[1], rank), stack.dtype)
    coefficients[order[:rank]] = inverse
    return whole @ turn[:, :rank], coefficients, clean
