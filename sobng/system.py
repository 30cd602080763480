"""A problem on points with a field: residual vector, Jacobian rows, products."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.calculus import matrices_of, outer_products, OuterProducts
from sobng.chunks import AT_ONCE, blocks_of, CHUNK, chunked, PIECE
from sobng.collocation import Collocation
from sobng.exact import satisfied
from sobng.fields.partition import combine, partition
from sobng.linalg.blocked import add_gram, gram
from sobng.linalg.outer import row_gram, row_products
from sobng.norms.modes import NormOnPoints
from sobng.precision import matmul, precise
from sobng.problem import Energy, Problem
from sobng.problem.condition import residual_at


LARGE = 100_000
"""Parameters of fields whose residual is taken a few points at a time, too."""

LEAN = 64
"""How many then."""

FACTORS = 2**24
"""Numbers in the outer products of the points that are differentiated together."""


class System(eqx.Module):
    r"""A problem on a collocation with a field, as a function of its parameters.

    The residual stacks the conditions; each row is scaled by the square root of the
    condition's weight times the quadrature weight, so that $\tfrac12 |r|^2$ is the loss:
    half the sum of the weighted *integrals* of the squared residuals. The rows of a
    condition with a norm of its own are mapped to as many whose squares sum to the square
    of that norm.

    !!! example

        ```python
        import jax, optimistix as optx, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, interval.interior,
                         name="poisson"),
            sn.Dirichlet(interval.boundary, 0.0, exact=False),
        )
        field = sn.MLP(dim=1, width=8, key=jax.random.key(0))
        collocation = sn.discretise(problem, num=40, key=jax.random.key(1))
        system = sn.System(problem, field, collocation)
        solver = sn.GaussNewton().on(system)
        fit = optx.least_squares(
            system.residual, solver, system.params, max_steps=20, throw=False
        )
        solution = system.unknown(fit.value)
        ```
    """

    problem: Problem | Energy
    params: PyTree
    rest: PyTree
    collocation: Collocation
    norms: dict[str, NormOnPoints]
    names: tuple[str, ...] = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)

    def __init__(
        self,
        problem: Problem | Energy,
        unknown: PyTree,
        collocation: Collocation,
        *,
        moves: PyTree | None = None,
        chunk: int | None = CHUNK,
    ):
        """**Arguments:**

        - `problem`: what holds where.
        - `unknown`: a field, or a dict of fields and arrays.
        - `collocation`: points and weights for every condition.
        - `moves`: a PyTree of booleans like `unknown`: which leaves are parameters.
            All inexact arrays that are not `Frozen` by default.
        - `chunk`: points that are differentiated together; `None` for all at once.

        **Raises:** `ValueError` if the collocation lacks the points of a condition.
        """
        params, rest = partition(unknown)
        if moves is not None:
            params, still = eqx.partition(params, moves)
            rest = combine(still, rest)
        if not jax.tree.leaves(params):
            raise ValueError(
                "The unknown has no parameters to move: no inexact array leaf was "
                f"found in {unknown!r}."
            )
        known = satisfied(unknown)
        names = tuple(c.name for c in problem.conditions if c.name not in known)
        if isinstance(problem, Problem) and not names:
            raise ValueError(
                "Every condition is satisfied by the field itself, so nothing is left "
                "to solve. Add the equation as a `sobng.Condition`."
            )
        collocation.check(names)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        self.problem = problem
        self.params = params
        self.rest = rest
        self.collocation = collocation.astype(dtype)
        self.norms = _norms(problem, names, self.collocation)
        self.names = names
        self.chunk = chunk

    def unknown(self, params: PyTree) -> PyTree:
        """The field, or the dict of fields and arrays, with the given parameters."""
        return combine(params, self.rest)

    @property
    def num_params(self) -> int:
        """How many numbers move."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def rows(self, args: Any = None) -> int:
        """The length of the residual vector."""
        if not self.names:
            return 0
        return jax.eval_shape(self.residual, self.params, args).size

    def block_sizes(self, args: Any = None) -> tuple[int, ...]:
        """The rows of each condition, in the order of the residual."""

        def size(condition, points):
            u = self.unknown(self.params)
            point = jax.ShapeDtypeStruct(points.shape[1:], points.dtype)
            value = jax.eval_shape(lambda x: residual_at(condition, u, x, args), point)
            return points.shape[0] * value.size

        return tuple(size(c, points) for c, points, _ in self._parts())

    def _parts(self):
        for condition in self.problem.conditions:
            if condition.name in self.names:
                points = self.collocation.points[condition.name]
                weights = self.collocation.weights[condition.name]
                yield condition, points, weights

    def _measured(self, name: str, rows: Array) -> Array:
        """The rows of a condition, one entry for each point, in the norm of its own."""
        return self.norms[name](rows) if name in self.norms else rows

    @precise
    def residual(self, params: PyTree, args: Any = None) -> Float[Array, " rows"]:
        """The stacked, weighted residual."""
        u = self.unknown(params)

        def rows(condition, points, weights):
            def at(x):
                return residual_at(condition, u, x, args)

            values = self._everywhere(at, points)
            scale = jnp.sqrt(condition.weight * weights)
            return jnp.ravel(self._measured(condition.name, values * scale[:, None]))

        return jnp.concatenate([rows(*part) for part in self._parts()])

    def _expansion(self, condition, params: PyTree, args: Any):
        """A condition's rows at one point and their derivative, as a function of the
        flattened parameters, the point and its weight."""
        _, unravel = jfu.ravel_pytree(params)

        def expanded(flat, x, weight):
            def at(flat):
                u = self.unknown(unravel(flat))
                scale = jnp.sqrt(condition.weight * weight)
                return scale * residual_at(condition, u, x, args)

            value, pull = jax.vjp(at, flat)
            (rows,) = jax.vmap(pull)(jnp.eye(value.size, dtype=value.dtype))
            return value, rows

        return expanded

    @precise
    def linearised(
        self, params: PyTree, args: Any = None
    ) -> tuple[Float[Array, " rows"], Float[Array, "rows params"]]:
        """The residual and its derivative, point by point, never the stacked vector's.

        Reverse mode through one point costs a few times its residual, whatever the
        number of parameters.
        """
        flat, _ = jfu.ravel_pytree(params)

        def blocks(condition, points, weights):
            expanded = self._expansion(condition, params, args)
            values, rows = chunked(
                lambda x, weight: expanded(flat, x, weight), self.chunk, points, weights
            )
            values, rows = (self._measured(condition.name, b) for b in (values, rows))
            return jnp.ravel(values), rows.reshape(-1, flat.size)

        found = [blocks(*part) for part in self._parts()]
        residual, jacobian = zip(*found, strict=True)
        return jnp.concatenate(residual), jnp.concatenate(jacobian)

    def jacobian(self, params: PyTree, args: Any = None) -> Float[Array, "rows params"]:
        """The derivative of the residual: the second half of `linearised`."""
        return self.linearised(params, args)[1]

    def _everywhere(self, at: Callable, points: Array) -> Array:
        """A function at all points. With a large field a derivative remembers one chunk."""
        if self.num_params < LARGE:
            return chunked(at, AT_ONCE, points)
        return chunked(jax.checkpoint(at), LEAN, points)

    @precise
    def factors(self, params: PyTree, args: Any = None) -> tuple[OuterProducts, ...]:
        """The rows of each condition as outer products, before a norm of its own."""

        def row(condition):
            def at(params, x, weight):
                u = self.unknown(params)
                scale = jnp.sqrt(condition.weight * weight)
                return scale * jnp.ravel(condition.residual(u, x, args))

            return at

        parts = [(row(c), points, weights) for c, points, weights in self._parts()]
        # The same leaves for all, so that rows of two conditions can be multiplied.
        matrices = frozenset.intersection(
            *(
                matrices_of(lambda p, at=at, x=x, w=w: at(p, x[0], w[0]), params)
                for at, x, w in parts
            )
        )

        def factors(at, points, weights):
            one = lambda x, w: outer_products(lambda p: at(p, x, w), params, matrices)
            shapes = jax.eval_shape(one, points[0], weights[0])
            size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
            found = chunked(one, max(1, FACTORS // size), points, weights)
            return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)

        return tuple(factors(*part) for part in parts)

    def gram(self, params: PyTree, args: Any = None) -> Float[Array, "rows rows"]:
        """$J J^T$ without $J$, from outer products."""
        factors = self.factors(params, args)

        def block(i, j):
            if i == j:
                return row_gram(factors[i])
            if i > j:
                return row_products(factors[j], factors[i]).T
            return row_products(factors[i], factors[j])

        every = range(len(factors))
        # Twice the norms of their own: of the rows, and of the columns.
        one_sided = [
            self._measured_rows(jnp.concatenate([block(i, j) for i in every]), args)
            for j in every
        ]
        return self._measured_rows(jnp.concatenate(one_sided, axis=1).T, args)

    def _measured_rows(self, rows: Float[Array, "rows any"], args: Any) -> Array:
        """Stacked rows that were taken without the norms of the conditions, in these."""
        if not self.norms:
            return rows
        found, start = [], 0
        for size, (condition, points, _) in zip(
            self.block_sizes(args), self._parts(), strict=True
        ):
            block = rows[start : start + size].reshape(
                points.shape[0], -1, rows.shape[1]
            )
            found.append(self._measured(condition.name, block).reshape(size, -1))
            start += size
        return jnp.concatenate(found)

    def normal(
        self, params: PyTree, args: Any = None
    ) -> tuple[Float[Array, "params params"], Float[Array, " params"]]:
        """`J.T @ J`, of which the lower triangle counts, and `J.T @ r`, summed up over
        chunks of points: `J` is never in memory as a whole."""
        if self.norms:
            residual, matrix = self.linearised(params, args)
            return gram(matrix), matmul(matrix.T, residual)
        flat, _ = jfu.ravel_pytree(params)
        square = jnp.zeros((flat.size, flat.size), flat.dtype)
        total = square, jnp.zeros_like(flat)
        for condition, points, weights in self._parts():
            expanded = self._expansion(condition, params, args)

            def add(total, some, expanded=expanded):
                rest, block = chunked(lambda *p: expanded(flat, *p), self.chunk, *some)
                block = block.reshape(-1, flat.size)
                square, gradient = total
                gradient = gradient + matmul(block.T, jnp.ravel(rest))
                return (add_gram(square, block), gradient), None

            total, _ = jax.lax.scan(add, total, blocks_of(points, weights))
        return total

    def _in_pieces(self, params: PyTree, args: Any) -> Any:
        """For each condition its rows at a few points, as a function of these and their
        weights; the blocks of points that it is to be called with; and how many rows it
        has, and is called for."""
        flat, _ = jfu.ravel_pytree(params)
        most = max(1, PIECE // flat.size)
        sizes = self.block_sizes(args)
        for size, (condition, points, weights) in zip(
            sizes, self._parts(), strict=True
        ):
            expanded = self._expansion(condition, params, args)

            def rows(some, expanded=expanded):
                found = chunked(lambda *p: expanded(flat, *p)[1], self.chunk, *some)
                return found.reshape(-1, flat.size)

            blocks = blocks_of(points, weights, most)
            yield rows, blocks, size, blocks[1].size * size // len(points)

    def products(
        self, params: PyTree, columns: Float[Array, "params any"], args: Any = None
    ) -> Float[Array, "rows any"]:
        """`J @ columns`, where `J` is never in memory as a whole."""

        def product(rows, blocks, size, _):
            found = jax.lax.map(lambda some: matmul(rows(some), columns), blocks)
            return found.reshape(-1, columns.shape[1])[:size]

        found = [product(*piece) for piece in self._in_pieces(params, args)]
        return self._measured_rows(jnp.concatenate(found), args)

    def transposed_products(
        self, params: PyTree, columns: Float[Array, "rows any"], args: Any = None
    ) -> Float[Array, "params any"]:
        """`J.T @ columns`, where `J` is never in memory as a whole."""
        measured = lambda rows: self._measured_rows(rows, args)
        (columns,) = jax.linear_transpose(measured, columns)(columns)
        num = columns.shape[1]
        total = jnp.zeros((self.num_params, num), columns.dtype)
        start = 0
        for rows, blocks, size, filled in self._in_pieces(params, args):
            own = columns[start : start + size]
            start += size
            own = jnp.concatenate([own, jnp.zeros((filled - size, num), own.dtype)])

            def add(total, part, rows=rows):
                some, own = part
                return total + matmul(rows(some).T, own), None

            parts = blocks, own.reshape(len(blocks[1]), -1, num)
            total, _ = jax.lax.scan(add, total, parts)
        return total

    @precise
    def energy_of(self, u: PyTree, args: Any = None) -> Float[Array, ""]:
        """The integral of an `Energy`'s density (normalised if it says so)."""
        assert isinstance(self.problem, Energy)
        energy = self.problem
        points, weights = self.collocation.points[""], self.collocation.weights[""]
        if energy.normalise == "l2":
            square = jnp.sum(weights * jax.vmap(u)(points) ** 2)
            inner = u
            u = lambda x: inner(x) / jnp.sqrt(square)  # noqa: E731
        density = jax.vmap(lambda x: energy.density(u, x, args))(points)
        return jnp.sum(weights * density)

    def loss(self, params: PyTree, args: Any = None) -> Float[Array, ""]:
        """Half the sum of squares of the residual, the squared norms of the conditions;
        for an `Energy`, plus the energy."""
        if not isinstance(self.problem, Energy):
            return 0.5 * jnp.sum(self.residual(params, args) ** 2)
        energy = self.energy_of(self.unknown(params), args)
        if not self.names:
            return energy
        return energy + 0.5 * jnp.sum(self.residual(params, args) ** 2)

    def moving_all(self, params: PyTree) -> "System":
        """The same system at the given parameters, of which all move that can."""
        both = partition(self.unknown(params))
        return eqx.tree_at(lambda s: (s.params, s.rest), self, both)

    def with_points(self, collocation: Collocation) -> "System":
        """The same system on other points (of the same number: nothing compiles)."""
        collocation = collocation.astype(self.collocation.dtype)
        norms = _norms(self.problem, self.names, collocation)
        return eqx.tree_at(
            lambda s: (s.collocation, s.norms), self, (collocation, norms)
        )


def _norms(problem, names, collocation) -> dict[str, NormOnPoints]:
    """Of the conditions that are measured in a norm of their own, on their points."""
    return {
        c.name: c.norm.on(
            c.region, collocation.points[c.name], collocation.weights[c.name]
        )
        for c in problem.conditions
        if c.name in names and getattr(c, "norm", None) is not None
    }
