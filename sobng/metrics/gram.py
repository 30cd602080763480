"""Gram matrices: metrics pulled back to the parameters of a field, on its points."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.chunks import chunked
from sobng.linalg.factorisation import QuadraticForm
from sobng.system import System


class AbstractGram(eqx.Module):
    """The Gram matrix $G$ of a metric on the points of one system.

    Holds what depends on the points alone (a factorised kernel matrix), so that it is
    made once for each set of points.
    """

    @abc.abstractmethod
    def factor(self, params: PyTree, args: Any = None) -> Float[Array, "any params"]:
        """`F` with $F^T F = G$; any number of rows."""

    @abc.abstractmethod
    def product(
        self, params: PyTree, args: Any, vector: Float[Array, " params"]
    ) -> Float[Array, " params"]:
        """$G v$, without a matrix of `params` columns."""

    def form(self, params: PyTree, args: Any) -> QuadraticForm:
        """What a factorisation is given."""
        return QuadraticForm(
            lambda: self.factor(params, args),
            lambda vector: self.product(params, args, vector),
        )


class Pullback(AbstractGram):
    r"""The Gram matrix of a map from the parameters into a Euclidean space.

    The map is `function(u, x, args)` at every point, scaled by the root of the weight
    there; $F$ is its derivative. A `transform` may act along the axis of the points
    afterwards: for a kernel matrix $K = L L^T$ it is $L^{-1}$.
    """

    system: System
    function: Callable[[PyTree, Float[Array, " dim"], Any], Any]
    points: Float[Array, "n dim"]
    weights: Float[Array, " n"]
    transform: Callable | None = None
    """`transform(tangents, values)`: linear in tangents `[n, entries, ...]`; it may
    depend on the values `[n, entries]` of the map, which are not differentiated."""
    entry: str | None = eqx.field(static=True, default=None)
    """The entry of a dict unknown that `function` is given; `None` for the whole."""

    def _at(self, unravel, args):
        def at(flat, x, weight):
            u = measured(self.system.unknown(unravel(flat)), self.entry)
            value = self.function(u, x, args)
            return jnp.sqrt(weight) * jnp.ravel(jnp.asarray(value))

        return at

    def factor(self, params, args=None):
        flat, unravel = jfu.ravel_pytree(params)
        at = self._at(unravel, args)
        blocks = chunked(
            lambda x, weight: jax.jacrev(at)(flat, x, weight),
            self.system.chunk,
            self.points,
            self.weights,
        )
        if self.transform is not None:
            values = jax.vmap(at, (None, 0, 0))(flat, self.points, self.weights)
            blocks = self.transform(blocks, values)
        return blocks.reshape(-1, flat.size)

    def product(self, params, args, vector):
        flat, unravel = jfu.ravel_pytree(params)
        at = self._at(unravel, args)

        def everywhere(flat):
            values = jax.vmap(at, (None, 0, 0))(flat, self.points, self.weights)
            if self.transform is None:
                return values
            return self.transform(values, jax.lax.stop_gradient(values))

        image = jax.jvp(everywhere, (flat,), (vector,))[1]
        return jax.vjp(everywhere, flat)[1](image)[0]


def measured(unknown: PyTree, entry: str | None) -> PyTree:
    """The unknown, or one entry of it.

    **Raises:** `ValueError` if it has no such entry.
    """
    if entry is None:
        return unknown
    names = list(unknown) if isinstance(unknown, dict) else []
    if entry not in names:
        raise ValueError(
            f"A metric is given for '{entry}', and the unknown has the entries {names}. "
            "Name one of these."
        )
    return unknown[entry]


class Selection(AbstractGram):
    """The identity on some of the parameters, zero on the others."""

    chosen: tuple[int, ...] = eqx.field(static=True)

    def factor(self, params, args=None):
        flat, _ = jfu.ravel_pytree(params)
        return jnp.eye(flat.size, dtype=flat.dtype)[jnp.asarray(self.chosen)]

    def product(self, params, args, vector):
        chosen = jnp.asarray(self.chosen)
        return jnp.zeros_like(vector).at[chosen].set(vector[chosen])


class Total(AbstractGram):
    """A sum of Gram matrices with positive coefficients."""

    grams: tuple[AbstractGram, ...]
    coefficients: tuple[float, ...] = eqx.field(static=True)

    def _terms(self):
        return zip(self.grams, self.coefficients, strict=True)

    def factor(self, params, args=None):
        rows = [math.sqrt(c) * gram.factor(params, args) for gram, c in self._terms()]
        return jnp.concatenate(rows)

    def product(self, params, args, vector):
        products = [c * g.product(params, args, vector) for g, c in self._terms()]
        return jnp.sum(jnp.stack(products), axis=0)
