"""A norm on given points, by what it makes of some orthonormal functions."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.precision import matmul


UNRESOLVED = 0.1
"""A squared length of a combination of functions at the points, one if a rule resolves it,
below which the points do not see it."""


class Modes(eqx.Module):
    """Orthonormal functions at points, with the square of the frequency of each."""

    values: Float[Array, "n modes"]
    """Scaled by the roots of the weights."""
    squares: Float[Array, " modes"]
    """Eigenvalues of the (scaled) negative Laplacian."""
    cut: Float[Array, ""]
    """The least eigenvalue that was left out."""


class NormOnPoints(eqx.Module):
    r"""A norm as a linear map from values at points to as many numbers, whose squares
    sum to the square of the norm.

    For a symbol $\sigma$ and modes $e_k$ it is
    $\sum_k \sigma_k c_k^2 + \sigma_c \lVert v - \sum_k c_k e_k\rVert^2$ with the best
    coefficients $c$: what the modes leave counts like the first that was left out.
    """

    left: Float[Array, "n modes"]
    right: Float[Array, "n modes"]
    tail: Float[Array, ""]

    def __call__(self, rows: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """**Arguments:**

        - `rows`: values at the points, times the roots of the weights; any entries of a
            point, each of which is measured by itself.

        **Returns:** an array of the same shape.
        """
        flat = rows.reshape(rows.shape[0], -1)
        mapped = self.tail * flat + matmul(self.left, matmul(self.right.T, flat))
        return mapped.reshape(rows.shape)


@eqx.filter_jit
def norm_on_points(
    modes: Modes, order: Float[Array, ""], homogeneous: bool
) -> NormOnPoints:
    r"""The norm with the symbol $(1 + |\xi|^2)^s$, or $|\xi|^{2s}$."""
    root = _root_symbol(modes, order, homogeneous)
    tail = (modes.cut if homogeneous else 1 + modes.cut) ** (order / 2)
    # With E = `values`, the coefficients are (E^T E)^-1 E^T y = V S^-1 U^T y, where
    # E = U S V^T. The map sends y to the weighted coefficients within the span of U
    # (rotated by V, so that it is symmetric on a rule) and scales what is orthogonal.
    # The Gram matrix is the identity on a rule, so that squaring loses nothing.
    squares, right = jnp.linalg.eigh(matmul(modes.values.T, modes.values))
    lengths = jnp.sqrt(jnp.maximum(squares, UNRESOLVED))[None]
    frame = matmul(modes.values, right / lengths)
    inner = matmul(right.T, root[:, None] * right) / lengths
    eye = jnp.eye(len(root), dtype=root.dtype)
    return NormOnPoints(matmul(frame, inner - tail * eye), frame, tail)


def _root_symbol(modes, order, homogeneous):
    if not homogeneous:
        return (1 + modes.squares) ** (order / 2)
    # What has no derivative has no place in a homogeneous norm: its weight is zero.
    seen = modes.squares > 0
    return jnp.where(seen, jnp.where(seen, modes.squares, 1) ** (order / 2), 0)
