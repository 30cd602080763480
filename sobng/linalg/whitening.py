"""Cholesky factors of kernel matrices, with the least nugget that they need."""

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.linalg.blocked import solve_triangular


NUGGETS = {8: 1e-8, 4: 1e-2}
"""The largest nugget, as a part of the diagonal, by the bytes of a number."""


class Whitening(eqx.Module):
    r"""The map $v \mapsto L^{-1} v$ with $L L^T = K + \eta\,\mathrm{diag}(K)$.

    By a triangular solve; $K^{-1}$ is never formed. A nugget $\eta > 0$ makes $K$ larger
    and so $v^T K^{-1} v$ smaller.
    """

    triangle: Float[Array, "n n"]
    nugget: Float[Array, ""]

    def __call__(
        self, rows: Float[Array, "n ..."], values=None
    ) -> Float[Array, "n ..."]:
        del values  # of the map whose tangents are the rows: the matrix knows none
        flat = rows.reshape(rows.shape[0], -1)
        solved = solve_triangular(self.triangle, flat, lower=True)
        return solved.reshape(rows.shape)


@eqx.filter_jit
def whiten(matrix: Float[Array, "n n"], nugget: float = 0.0) -> Whitening:
    r"""Factorises a kernel matrix once, for any number of right-hand sides.

    The nugget is the given one if every pivot is then above its own rounding error,
    $n \epsilon$ of the diagonal entry, and else the first of $n \epsilon, 10 n \epsilon,
    \ldots$ with which it is; never raised above `NUGGETS` (where the factor may still
    fail, and is not a number).

    **Arguments:**

    - `matrix`: symmetric, with a positive diagonal; positive definite up to rounding.
    - `nugget`: the least part of the diagonal that is added to it.
    """
    diagonal = jnp.diagonal(matrix)
    noise = matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps)
    bound = NUGGETS[matrix.dtype.itemsize]

    def factorise(nugget):
        # Only the lower triangle is read: derivatives of kernels are symmetric up to
        # rounding.
        triangle = jax.lax.linalg.cholesky(
            matrix + nugget * jnp.diag(diagonal), symmetrize_input=False
        )
        return nugget, triangle

    def unstable(state):
        nugget, triangle = state
        pivots = jnp.diagonal(triangle) ** 2
        return ~jnp.all(pivots > noise * diagonal) & (nugget < bound)

    def more(state):
        nugget, _ = state
        return factorise(jnp.clip(10 * nugget, min(noise, bound), bound))

    first = factorise(jnp.asarray(nugget, matrix.dtype))
    added, triangle = jax.lax.while_loop(unstable, more, first)
    return Whitening(triangle, added)


def check_regular(whitening: Whitening, name: str) -> None:
    """Raises `ValueError` if a factor that is known is not one."""
    triangle = whitening.triangle
    if isinstance(triangle, jax.core.Tracer) or bool(jnp.all(jnp.isfinite(triangle))):
        return
    raise ValueError(
        f"The kernel matrix of `{name}` is singular: its Cholesky factor fails with a "
        f"nugget of {float(whitening.nugget):.0e} of the diagonal. Take fewer points, a "
        "kernel of lower order, or a smaller length scale."
    )
