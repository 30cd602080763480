"""Checks and unit vectors shared by the operators."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sobng.typing import Point


def check_point(x: ArrayLike, name: str) -> Array:
    """Refuse anything that is not one floating-point point."""
    if jnp.ndim(x) != 1:
        raise ValueError(
            f"`{name}` acts on a function of one point of shape `(dim,)`. Got shape "
            f"`{jnp.shape(x)}`. For many points, write `jax.vmap({name}(u))(points)`."
        )
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` differentiates at a real point. Got dtype `{x.dtype}`. "
            "Convert the point to a floating-point array."
        )
    return x


def check_axes(x: Point, axes: Sequence[int] | None, name: str) -> tuple[int, ...]:
    """Axes as non-negative integers; all axes for `None`."""
    dim = x.shape[0]
    if axes is None:
        return tuple(range(dim))
    if not isinstance(axes, Sequence):
        raise ValueError(
            f"`{name}` needs a sequence of axes. Got `{axes!r}`. Write `axes=(0,)` for one."
        )
    axes = tuple(axes)
    if len(axes) == 0 or not all(-dim <= axis < dim for axis in axes):
        raise ValueError(
            f"`{name}` needs axes of a point with {dim} coordinates. Got `{axes}`. "
            f"Choose from 0 to {dim - 1}."
        )
    return tuple(int(axis) % dim for axis in axes)


def unit_vectors(x: Point, axes: tuple[int, ...]) -> Float[Array, "axes dim"]:
    """Unit vectors along the axes, in the precision of the point."""
    return jnp.asarray(np.eye(x.shape[0])[list(axes)], dtype=x.dtype)
