"""Functions of many points, a few points at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


CHUNK = 256
"""Points that are differentiated together. Per point the intermediate values of a
derivative may outweigh its Jacobian row, so their number, not that of all points,
bounds the memory of an assembly."""

AT_ONCE = 4096
"""Points at which residuals are evaluated together: those of many features at many points
would outweigh every matrix."""

BLOCK = 2048
"""Points whose rows are in memory together where normal equations are summed up."""

PIECE = 2**24
"""Numbers in the rows that are in memory together where many columns are multiplied."""


def chunked(function: Callable, chunk: int | None, *arrays: Array) -> PyTree:
    """`vmap(function)` over the leading axis, at most `chunk` at a time.

    The last chunk is filled up by repeating points, so that one size is compiled.
    """
    size = arrays[0].shape[0]
    mapped = jax.vmap(function)
    if chunk is None or size <= chunk:
        return mapped(*arrays)
    num = -(-size // chunk)
    index = jnp.minimum(jnp.arange(num * chunk), size - 1).reshape(num, chunk)
    blocks = jax.lax.map(lambda i: mapped(*(a[i] for a in arrays)), index)
    return jax.tree.map(lambda b: b.reshape(-1, *b.shape[2:])[:size], blocks)


def blocks_of(points: Array, weights: Array, most: int = BLOCK) -> tuple[Array, Array]:
    """Points and weights in blocks of equal size; the last is filled up by points of
    weight zero."""
    num = -(-len(points) // min(most, BLOCK))
    size = -(-len(points) // num)
    index = jnp.arange(num * size)
    inside = jnp.minimum(index, len(points) - 1)
    filled = jnp.where(index < len(points), weights[inside], 0)
    return points[inside].reshape(num, size, -1), filled.reshape(num, size)
