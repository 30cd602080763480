"""Orthonormal bases of a column space, as combinations of the columns."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.precision import matmul


def default_cut(dtype) -> float:
    """Which part of the columns' lengths still counts as a direction: one in which they
    cancel to this part keeps a third of its digits."""
    return float(jnp.finfo(dtype).eps) ** (2 / 3)


def lengths(factor: Float[Array, "rows params"]) -> Float[Array, " params"]:
    """The lengths of the columns, one for those that vanish."""
    found = jnp.linalg.norm(factor, axis=0)
    return jnp.where(found > 0, found, 1)


def orthonormal(
    factor: Float[Array, "rows params"],
    cut: float,
    scale: Float[Array, " params"] | None = None,
) -> tuple[Float[Array, "rows rank"], Float[Array, "params rank"]]:
    """`frame` and `columns` with `factor @ columns = frame`, which is orthonormal.

    `columns @ columns.T` is then a generalised inverse of the Gram matrix, which is
    never formed. Both are zero where only rounding is left.

    **Arguments:**

    - `cut`: below which singular value nothing but rounding is left, as a part of the
        norm of columns that have length one after scaling.
    - `scale`: the lengths of the columns; by default their own.
    """
    scale = lengths(factor) if scale is None else scale
    rows, params = factor.shape
    frame, core = None, factor / scale[None]
    if rows > params:
        frame, core = jnp.linalg.qr(core)
    left, singular, right = jnp.linalg.svd(core, full_matrices=False)
    frame = left if frame is None else matmul(frame, left)
    kept = singular > cut * math.sqrt(params)
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    frame = jnp.where(kept[None], frame, 0)
    return frame, right.T * inverse[None] / scale[:, None]
