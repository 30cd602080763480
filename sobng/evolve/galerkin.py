"""An evolution on the span of frozen features: a small system of ordinary equations."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.evolve.rates import Rates
from sobng.evolve.taylor import (
    Orders,
    Taylor,
)
from sobng.evolve.walls import (
    at_time,
    Nothing,
    residual_in_time,
)
from sobng.fields.partition import combine, linear_leaves
from sobng.precision import matmul
from sobng.problem import Evolution


REFITS = 3
"""How often coefficients are corrected; each gains as many digits as the first has."""


class Table(eqx.Module):
    """The derivatives of the basis functions at some points."""

    points: Float[Array, "n dim"]
    entries: Float[Array, "size r"]
    orders: Orders = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def partials(self, y: Float[Array, " r"]) -> Float[Array, "n orders *out"]:
        """The derivatives of one combination of the basis functions."""
        flat = matmul(self.entries, y)
        shape = (len(self.orders), len(self.points))
        shape = shape if self.out is None else (*shape, self.out)
        return jnp.moveaxis(flat.reshape(shape), 0, 1)

    @property
    def values(self) -> Float[Array, "size r"]:
        """The basis functions themselves."""
        return self.entries[: len(self.entries) // len(self.orders)]


class Galerkin(eqx.Module):
    r"""$y' = P\,F(u_y)$ with the orthogonal projection $P$ on frozen features.

    The basis is orthonormal on the weighted points but for a rotation and a scaling of
    pairs that make the linear part of $F$ diagonal.
    """

    evolution: Evolution
    unknown: PyTree  # linear leaves at zero
    lift: Any
    table: Table
    held_out: Table
    project: Float[Array, "r rows"]
    walls: Any
    coefficients: Float[Array, "params r"]
    rates: Rates
    linear: bool
    moving: bool = eqx.field(static=True)

    def rate(self, table: Table, t: Any, y: Float[Array, " r"], args: Any) -> Array:
        """What the features are to do, at the points of a table: `[n, *out]`."""
        lift: Any = self.lift_at(args)

        def at(x, partials):
            local = Taylor(x, partials, table.orders)
            if lift is None:
                return jnp.asarray(self.evolution.rhs(local, t, x, args), x.dtype)
            carried: Any = lift
            now = carried(t)
            u = lambda x: local(x) + now(x)
            value = jnp.asarray(self.evolution.rhs(u, t, x, args), x.dtype)
            if not self.moving:
                return value
            one = jnp.ones_like(t)
            return value - jax.jvp(lambda t: carried(t)(x), (t,), (one,))[1]

        return jax.vmap(at)(table.points, table.partials(y))

    def velocity(self, t: Any, y: Float[Array, " r"], args: Any) -> Float[Array, " r"]:
        """The projected right-hand side."""
        t = jnp.asarray(t, y.dtype)
        rows = jnp.ravel(self.rate(self.table, t, y, args))
        if self.walls is not None:
            lift = self.lift_at(args)
            wall = lambda t: self.walls.offset(lift, t, args)
            value, slope = jax.jvp(wall, (t,), (jnp.ones_like(t),))
            miss = matmul(self.walls.matrix, y) + value
            rows = jnp.concatenate([rows, -slope - self.walls.speed * miss])
        return matmul(self.project, rows)

    def defect(self, t: Any, y: Float[Array, " r"], args: Any) -> Float[Array, " 2"]:
        """Mean squares of what no motion of the features can do, and of the change
        asked for, on held-out points."""
        wanted = jnp.ravel(self.rate(self.held_out, jnp.asarray(t, y.dtype), y, args))
        done = matmul(self.held_out.values, self.velocity(t, y, args))
        return jnp.stack([jnp.mean((wanted - done) ** 2), jnp.mean(wanted**2)])

    @eqx.filter_jit
    def field(self, t: Any, y: Float[Array, " r"], args: Any) -> PyTree:
        """The field at one time.

        The coefficients of nearly dependent features are large, and lose digits to
        rounding: what they miss of the values is fitted again.
        """
        params, rest = eqx.partition(self.unknown, linear_leaves(self.unknown))
        _, unravel = jfu.ravel_pytree(params)
        wanted = matmul(self.table.values, y)
        bare = jax.vmap(self.unknown)(self.table.points)
        coefficients = matmul(self.coefficients, y)
        size = len(wanted)
        for _ in range(REFITS):
            found = jax.vmap(combine(unravel(coefficients), rest))(self.table.points)
            miss = wanted - jnp.ravel(found - bare)
            again = matmul(self.project[:, :size], miss)
            coefficients = coefficients + matmul(self.coefficients, again)
        moved = combine(unravel(coefficients), rest)
        return at_time(moved, jnp.asarray(t, y.dtype), args) if self.moving else moved

    @eqx.filter_jit
    def start(self, t0: Any, args: Any) -> tuple[Float[Array, " r"], Float[Array, ""]]:
        """The initial values, and by how much they are missed, relatively, held out."""
        t0 = jnp.asarray(t0, self.table.points.dtype)
        lift = self.lift_at(args)

        def wanted(x):
            value = self.evolution.initial_value(x, args)
            return value if lift is None else value - lift(t0)(x)

        rows = jnp.ravel(jax.vmap(wanted)(self.table.points))
        if self.walls is not None:
            rows = jnp.concatenate([rows, -self.walls.offset(lift, t0, args)])
        y = matmul(self.project, rows)
        held_out = jnp.ravel(jax.vmap(wanted)(self.held_out.points))
        miss = held_out - matmul(self.held_out.values, y)
        size = jnp.ravel(
            jax.vmap(lambda x: self.evolution.initial_value(x, args))(
                self.held_out.points
            )
        )
        return y, jnp.linalg.norm(miss) / jnp.linalg.norm(size)

    def lift_at(self, args: Any) -> Callable | None:
        if self.lift is None:
            return None
        return lambda t: at_time(self.lift, t, args) if self.moving else self.lift


class Walls(eqx.Module):
    """Boundary conditions that the basis functions do not obey by themselves."""

    matrix: Float[Array, "rows r"]
    points: tuple[Float[Array, "n dim"], ...]
    conditions: tuple[Any, ...]
    speed: Any
    shape: Any = eqx.field(static=True)

    def offset(self, lift: Callable | None, t: Any, args: Any) -> Float[Array, " rows"]:
        """Their residuals without features."""
        dim = self.points[0].shape[1]
        plain = Nothing(dim, self.shape) if lift is None else lift(t)
        return wall_rows(self.conditions, self.points, plain, t, args)


def wall_rows(conditions, points, u, t, args) -> Float[Array, " rows"]:
    """The residuals of boundary conditions at their points."""

    def rows(condition, points):
        at = lambda x: jnp.ravel(residual_in_time(condition, u, t, x, args))
        return jnp.ravel(jax.vmap(at)(points))

    parts = [rows(c, p) for c, p in zip(conditions, points, strict=True)]
    return jnp.concatenate(parts)
