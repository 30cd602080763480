"""The interface of the kernels."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from sobng.typing import Point, Points, Scalar


ENTRIES = 2**22
"""Of a kernel matrix that are computed together."""


class AbstractKernel(eqx.Module):
    r"""A symmetric, positive definite function $K(x, y)$ of two points.

    It is the reproducing kernel of a space of functions: $\langle v, K(x, \cdot)\rangle =
    v(x)$. Where derivatives exist they are right under any mix of forward and reverse
    differentiation, also at coincident points.
    """

    @abc.abstractmethod
    def __call__(self, x: Point, y: Point) -> Scalar:
        """The kernel at one pair of points.

        **Arguments:**

        - `x`, `y`: two points, shape `(dim,)` each.
        """

    @abc.abstractmethod
    def smoothness(self, dim: int) -> float | int:
        """How many derivatives, in `x` and `y` together, exist at coincident points.

        The space then has point values of all derivatives of half that order.

        **Arguments:**

        - `dim`: coordinates of a point.

        **Returns:** a whole number, or infinity.

        **Raises:** `ValueError` if the kernel does not exist in so many dimensions.
        """

    @abc.abstractmethod
    def fitted(self, points: Points) -> "AbstractKernel":
        """The same kernel with what was left open chosen for the points.

        **Arguments:**

        - `points`: shape `(n, dim)`.
        """

    @abc.abstractmethod
    def unscaled(self, x: Point, y: Point) -> Scalar:
        """The kernel up to a constant factor, without overflow in many dimensions.

        For whom the factor does not matter: in the 784 dimensions of a small image that
        of a Sobolev kernel is below all floating point numbers.

        **Arguments:**

        - `x`, `y`: two points, shape `(dim,)` each.
        """

    def matrix(
        self,
        points: Shaped[Array, "n dim"],
        others: Shaped[Array, "m dim"] | None = None,
    ) -> Float[Array, "n m"]:
        """The kernel at all pairs of points, some rows at a time.

        **Arguments:**

        - `points`: shape `(n, dim)`, for the rows.
        - `others`: shape `(m, dim)`, for the columns; the same points by default.
        """
        return pairwise(self, points, points if others is None else others, ENTRIES)


@eqx.filter_jit
def pairwise(function, first, second, entries):
    """A function at all pairs of points, `[n, m, ...]`, about `entries` at a time.

    Distances are differences of coordinates: the product form |x|^2 - 2 x.y + |y|^2
    is faster, but leaves no digits of a distance between near points.
    """
    rows = max(1, entries // max(1, second.shape[0]))
    row = lambda x: jax.vmap(lambda y: function(x, y))(second)
    if first.shape[0] <= rows:
        return jax.vmap(row)(first)
    return jax.lax.map(row, first, batch_size=rows)


def as_inexact(values: Any) -> Any:
    """Points of an integer type as floats: in the former no length scale survives."""
    if jnp.issubdtype(values.dtype, jnp.inexact):
        return values
    return jnp.asarray(values, jnp.result_type(float))


def squared_distance(x: Point, y: Point) -> Scalar:
    return jnp.sum((x - y) ** 2)


def median_distance(points: Shaped[Array, "n dim"]) -> Scalar:
    """The median distance of pairs, of at most about a thousand of the points."""
    points = as_inexact(points[:: max(1, points.shape[0] // 1000)])
    num = points.shape[0]
    if num < 2:
        raise ValueError(
            "The length scale of a kernel is the median distance of the points, and "
            f"there are fewer than two. Got shape `{points.shape}`. Pass a `scale`."
        )
    distances = jnp.sqrt(pairwise(squared_distance, points, points, ENTRIES))
    return jnp.median(distances[jnp.triu_indices(num, 1)])


def as_scale(scale, name: str):
    """A positive length as an array; `None` is left for the data."""
    if scale is None:
        return None
    scale = jnp.asarray(scale, jnp.result_type(float, scale))
    known = not isinstance(scale, jax.core.Tracer)
    if scale.ndim or (known and not 0 < scale < jnp.inf):
        raise ValueError(
            f"The length scale of `{name}` is a positive number. Got {scale}. Leave it "
            "out for the median distance of the points."
        )
    return scale


def reduced(x: Any, y: Any, scale: Any, name: str) -> tuple[Scalar, Scalar]:
    """The squared distance in units of the length scale, and this scale."""
    if jnp.ndim(x) != 1 or jnp.shape(x) != jnp.shape(y):
        raise ValueError(
            f"`{name}` takes two points of shape `(dim,)`. Got shapes `{jnp.shape(x)}` "
            f"and `{jnp.shape(y)}`. For many points, write `kernel.matrix(points)`."
        )
    if scale is None:
        raise ValueError(
            f"The length scale of `{name}` is not known yet. Write "
            "`kernel.fitted(points)` for the median distance of points, or pass a "
            "`scale`."
        )
    x, y = as_inexact(x), as_inexact(y)
    scale = scale.astype(x.dtype)
    return squared_distance(x, y) / scale**2, scale
