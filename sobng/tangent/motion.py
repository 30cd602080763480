"""Motions of a field along directions of its parameters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
from jaxtyping import Array, Float, PyTree

from sobng.evaluation import observed
from sobng.fields.partition import combine
from sobng.typing import Point, Value


class Tangent(eqx.Module):
    """The derivatives of an observed field in its parameters, at a point."""

    params: PyTree
    rest: PyTree
    observe: Any = eqx.field(static=True)

    def value(self, flat: Float[Array, " params"], x: Point) -> Value:
        """What is observed at a point, for other parameters."""
        _, unravel = jfu.ravel_pytree(self.params)
        return observed(self.observe)(combine(unravel(flat), self.rest), x)

    @property
    def flat(self) -> Float[Array, " params"]:
        """The parameters, in one vector."""
        return jfu.ravel_pytree(self.params)[0]

    def rows(self, x: Point) -> Float[Array, "out params"]:
        """The derivative at a point; one row for a scalar."""
        rows = jax.jacrev(self.value)(self.flat, x)
        return rows.reshape(-1, rows.shape[-1])

    def along(self, direction: Float[Array, " params"]) -> "Motion":
        """The element of the tangent space that belongs to a direction."""
        return Motion(self, direction)


class Motion(eqx.Module):
    """An element of the tangent space, as a function of one point."""

    tangent: Tangent
    direction: Float[Array, " params"]

    def __call__(self, x: Point) -> Value:
        value: Callable = lambda flat: self.tangent.value(flat, x)
        return jax.jvp(value, (self.tangent.flat,), (self.direction,))[1]
