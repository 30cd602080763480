"""Products of rows that are sums of outer products, without the rows."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.calculus import OuterProducts
from sobng.precision import matmul


TILE = 1024
"""Rows, or channels of rows, beyond which a block is halved."""

ENTRIES = 2**25
"""Numbers that one intermediate matrix may hold."""


def row_products(a: OuterProducts, b: OuterProducts) -> Float[Array, "rows others"]:
    r"""$A B^T$. For each matrix of parameters

    $$(A B^T)_{ij} = \sum_{cd} (l_{ic} \cdot l'_{jd})\,(r_{ic} \cdot r'_{jd}),$$

    or by the rows themselves, a few at a time, where they have so many channels that
    this costs less.
    """
    total = matmul(a.rest, b.rest.T)
    for left, right, others in zip(
        a.left, a.right, zip(b.left, b.right, strict=True), strict=True
    ):
        by_pairs, by_rows = _costs(left, right, others[0])
        choice = _by_pairs if by_pairs <= by_rows else _by_rows
        total = total + choice(left, right, *others)
    return total


def row_gram(a: OuterProducts) -> Float[Array, "rows rows"]:
    """$A A^T$, but of two mirrored blocks only one."""
    rows = a.rest.shape[0]
    channels = max((left.shape[1] for left in a.left), default=1)
    if rows * channels <= TILE or rows == 1:
        return row_products(a, a)
    first = jax.tree.map(lambda leaf: leaf[: rows // 2], a)
    last = jax.tree.map(lambda leaf: leaf[rows // 2 :], a)
    cross = row_products(first, last)
    return jnp.block([[row_gram(first), cross], [cross.T, row_gram(last)]])


def _costs(left, right, other) -> tuple[int, int]:
    """Multiplications by pairs of channels, and by rows that are formed."""
    height, width = left.shape[-1], right.shape[-1]
    pairs = math.prod(left.shape[:2]) * math.prod(other.shape[:2])
    formed = math.prod(left.shape[:2]) + math.prod(other.shape[:2])
    return (
        pairs * (height + width),
        (formed + left.shape[0] * other.shape[0]) * height * width,
    )


def gram_cost(factors: tuple[OuterProducts, ...]) -> int:
    """Operations of the Gram matrix of several groups of rows; shapes suffice."""
    total = 0
    for i, a in enumerate(factors):
        for b in factors[: i + 1]:
            share = 1 if a is b else 2
            rest = a.rest.shape[0] * b.rest.shape[0] * a.rest.shape[1]
            quads = zip(a.left, a.right, b.left, strict=True)
            total += share * (rest + sum(min(_costs(*quad)) for quad in quads))
    return total


def _in_tiles(function, tile, *arrays):
    """`function` of the leading axis of the arrays, `tile` entries at a time."""
    rows = arrays[0].shape[0]
    if rows <= tile:
        return function(*arrays)
    num = -(-rows // tile)
    index = jnp.minimum(jnp.arange(num * tile), rows - 1).reshape(num, tile)
    blocks = jax.lax.map(lambda i: function(*(a[i] for a in arrays)), index)
    return blocks.reshape(-1, *blocks.shape[2:])[:rows]


def _by_pairs(left, right, other_left, other_right):
    rows, channels, _ = left.shape
    others, further, _ = other_left.shape

    def block(left, right):
        def gram(a, b):
            product = matmul(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]).T)
            return product.reshape(-1, channels, others, further)

        return jnp.sum(gram(left, other_left) * gram(right, other_right), axis=(1, 3))

    tile = max(1, ENTRIES // (channels * others * further))
    return _in_tiles(block, tile, left, right)


def _by_rows(left, right, other_left, other_right):
    tile = max(1, ENTRIES // (left.shape[-1] * right.shape[-1]))

    def formed(left, right):
        rows = jnp.einsum("ica,icb->iab", left, right, precision="highest")
        return rows.reshape(rows.shape[0], -1)

    def block(left, right):
        own = formed(left, right)
        part = lambda left, right: matmul(formed(left, right), own.T)
        return _in_tiles(part, tile, other_left, other_right).T

    return _in_tiles(block, tile, left, right)
