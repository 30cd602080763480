"""One damped least-squares solution by orthogonal reduction."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.linalg.spectrum import Damping
from sobng.precision import matmul


def damped_solution(
    matrix: Float[Array, "rows params"],
    target: Float[Array, " rows"],
    relative: Damping,
) -> Float[Array, " params"]:
    r"""The minimiser of $|A v - b|^2 + \mu^2 |v|^2$, by one QR of $A$ over $\mu I$.

    **Arguments:**

    - `matrix`, `target`: $A$ and $b$.
    - `relative`: $\mu$ as a part of the root mean square singular value of $A$.
    """
    _, params = matrix.shape
    size = relative * jnp.linalg.norm(matrix) / params**0.5
    size = jnp.where(size > 0, size, 1)
    low = size * jnp.eye(params, dtype=matrix.dtype)
    zeros = jnp.zeros((params,), matrix.dtype)
    frame, triangle = jnp.linalg.qr(jnp.concatenate([matrix, low]))
    right = matmul(frame.T, jnp.concatenate([target, zeros]))
    return jax.scipy.linalg.solve_triangular(triangle, right)
