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
from sobng.metrics.sobolev import Jet
from sobng.once import once
from sobng.precision import apply, matmul
from sobng.problem import Evolution
from sobng.typing import Point, Value


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
        flat = apply(self.entries, y)
        shape = (len(self.orders), len(self.points))
        shape = shape if self.out is None else (*shape, self.out)
        return jnp.moveaxis(flat.reshape(shape), 0, 1)

    @property
    def values(self) -> Float[Array, "size r"]:
        """The basis functions themselves."""
        return self.entries[: len(self.entries) // len(self.orders)]


class Galerkin(eqx.Module):
    r"""$y' = P\,F(u_y)$ with the orthogonal projection $P$ on frozen features.

    The basis is orthonormal in the metric, on the weighted points, but for a rotation and
    a scaling of pairs that make the linear part of $F$ diagonal.
    """

    evolution: Evolution
    unknown: PyTree  # linear leaves at zero
    lift: Any
    table: Table
    held_out: Table
    weights: Float[Array, " weighted"]  # of values at the points, then of boundary rows
    project: Float[Array, "r rows"]
    walls: Any
    jet: Jet  # what the metric sees of a function
    coefficients: Float[Array, "params r"]
    rates: Rates
    moving: bool = eqx.field(static=True)

    def rate(
        self,
        table: Table,
        t: Any,
        y: Float[Array, " r"],
        args: Any,
        see: Callable = lambda f, x: f(x),
    ) -> Array:
        """What the features are to do, at the points of a table: `[n, *out]`, or what
        `see(f, x)` tells of it."""
        lift: Any = self.lift_at(args)

        def wanted(local, x):
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

        def at(x, partials):
            local = Taylor(x, partials, table.orders)
            return see(lambda x: wanted(local, x), x)

        return jax.vmap(at)(table.points, table.partials(y))

    def velocity(self, t: Any, y: Float[Array, " r"], args: Any) -> Float[Array, " r"]:
        """The projected right-hand side."""
        t = jnp.asarray(t, y.dtype)
        rows = jnp.ravel(self.rate(self.table, t, y, args, self.jet))
        if self.walls is not None:
            lift = self.lift_at(args)
            wall = lambda t: self.walls.offset(lift, t, args)
            value, slope = jax.jvp(wall, (t,), (jnp.ones_like(t),))
            miss = matmul(self.walls.matrix, y) + value
            rows = jnp.concatenate([rows, -slope - self.walls.speed * miss])
        return apply(self.project, rows)

    def defect(self, t: Any, y: Float[Array, " r"], args: Any) -> Float[Array, " 3"]:
        """Mean squares on held-out points: of what no motion of the features can do, of
        the change asked for, and of the field."""
        t = jnp.asarray(t, y.dtype)
        wanted = jnp.ravel(self.rate(self.held_out, t, y, args))
        done = matmul(self.held_out.values, self.velocity(t, y, args))
        values = matmul(self.held_out.values, y)
        lift = self.lift_at(args)
        if lift is not None:
            values = values + jnp.ravel(jax.vmap(lift(t))(self.held_out.points))
        return jnp.stack([jnp.mean(v**2) for v in (wanted - done, wanted, values)])

    def rows(self, function: Callable) -> Float[Array, " rows"]:
        """What the metric sees of a function of a point at the points."""
        see = jax.vmap(lambda x: self.jet(function, x))
        return jnp.ravel(see(self.table.points))

    def field(self, t: Any, y: Float[Array, " r"], args: Any) -> PyTree:
        """The field at one time.

        The coefficients of nearly dependent features are large, and lose digits to
        rounding: what they miss is fitted again.
        """
        # A number would be compiled for itself, an array is not.
        return self._field(jnp.asarray(t, y.dtype), y, args)

    @once
    def _field(self, t: Any, y: Float[Array, " r"], args: Any) -> PyTree:
        params, rest = eqx.partition(self.unknown, linear_leaves(self.unknown))
        _, unravel = jfu.ravel_pytree(params)
        local = lambda x, partials: Taylor(x, partials, self.table.orders)
        see = lambda x, partials: self.jet(local(x, partials), x)
        wanted = jnp.ravel(jax.vmap(see)(self.table.points, self.table.partials(y)))
        bare = self.rows(self.unknown)
        coefficients = matmul(self.coefficients, y)
        size = len(wanted)
        for _ in range(REFITS):
            found = self.rows(combine(unravel(coefficients), rest))
            miss = wanted - (found - bare)
            again = matmul(self.project[:, :size], miss)
            coefficients = coefficients + matmul(self.coefficients, again)
        moved = combine(unravel(coefficients), rest)
        return at_time(moved, t, args) if self.moving else moved

    def start(self, t0: Any, args: Any) -> tuple[Float[Array, " r"], Float[Array, ""]]:
        """The initial values, and by how much they are missed, relatively."""
        return self.fit(Initial(self.evolution, args), t0, args)

    def fit(
        self, u: PyTree, t: Any, args: Any
    ) -> tuple[Float[Array, " r"], Float[Array, ""]]:
        """The state nearest to a function, and what it misses, relatively.

        On held-out points, or on those of the projection if that is more: they are so
        many that none of the misfit of a kink lies between them.
        """
        return self._fit(u, jnp.asarray(t, self.table.points.dtype), args)

    @once
    def _fit(self, u: PyTree, t: Any, args: Any) -> tuple[Array, Array]:
        lift = self.lift_at(args)
        plain = (lambda x: 0 * u(x)) if lift is None else lift(t)
        wanted = lambda x: u(x) - plain(x)
        rows = self.rows(wanted)
        if self.walls is not None:
            rows = jnp.concatenate([rows, -self.walls.offset(lift, t, args)])
        y = matmul(self.project, rows)

        def missed(table, weights):
            miss = jnp.ravel(jax.vmap(wanted)(table.points)) - matmul(table.values, y)
            size = jnp.sqrt(weights @ jnp.ravel(jax.vmap(u)(table.points)) ** 2)
            tiny = jnp.finfo(y.dtype).tiny
            return jnp.sqrt(weights @ miss**2) / jnp.maximum(size, tiny)

        number = len(self.table.values)
        seen = missed(self.table, self.weights[:number])
        unseen = missed(self.held_out, jnp.ones(len(self.held_out.values), y.dtype))
        return y, jnp.maximum(seen, unseen)

    def lift_at(self, args: Any) -> Callable | None:
        if self.lift is None:
            return None
        return lambda t: at_time(self.lift, t, args) if self.moving else self.lift


class Initial(eqx.Module):
    """The initial values of an evolution, as a function of a point."""

    evolution: Evolution
    args: PyTree

    def __call__(self, x: Point) -> Value:
        return self.evolution.initial_value(x, self.args)


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
