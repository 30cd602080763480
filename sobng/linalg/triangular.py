"""Solves with triangular matrices, mostly as matrix products."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.precision import matmul


SMALL = 128
"""Rows that are left to LAPACK."""


def solve_triangular(
    triangle: Float[Array, "n n"], rhs: Float[Array, "n ..."], *, lower: bool = False
) -> Float[Array, "n ..."]:
    """`inv(triangle) @ rhs`, by halves: twice as fast as LAPACK's for many columns."""
    size = triangle.shape[0]
    if size <= SMALL or rhs.ndim == 1:
        return jax.scipy.linalg.solve_triangular(triangle, rhs, lower=lower)
    half = size // 2
    first, last = slice(None, half), slice(half, None)
    if not lower:
        first, last = last, first
    head = solve_triangular(triangle[first, first], rhs[first], lower=lower)
    known = matmul(triangle[last, first], head)
    tail = solve_triangular(triangle[last, last], rhs[last] - known, lower=lower)
    return jnp.concatenate([head, tail] if lower else [tail, head])
