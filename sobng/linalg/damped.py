"""One damped least-squares solution by orthogonal reduction."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.linalg.spectrum import Damping
from sobng.precision import matmul


@jax.custom_jvp
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
    tall, right = _stacked(matrix, target, relative)
    # The reflections act on the target as on one more column: the orthogonal factor,
    # which costs as much again, is not formed.
    triangle = jnp.linalg.qr(jnp.column_stack([tall, right]), mode="r")
    params = matrix.shape[1]
    square, turned = triangle[:params, :params], triangle[:params, params]
    return jax.scipy.linalg.solve_triangular(square, turned)


@damped_solution.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    # Without the column, whose last entry may be zero and has no derivative there.
    return jax.jvp(_by_frame, primals, tangents)


def _by_frame(matrix, target, relative):
    tall, right = _stacked(matrix, target, relative)
    frame, triangle = jnp.linalg.qr(tall)
    return jax.scipy.linalg.solve_triangular(triangle, matmul(frame.T, right))


def _stacked(matrix, target, relative):
    _, params = matrix.shape
    size = relative * jnp.linalg.norm(matrix) / params**0.5
    size = jnp.where(size > 0, size, 1)
    low = size * jnp.eye(params, dtype=matrix.dtype)
    zeros = jnp.zeros((params,), matrix.dtype)
    return jnp.concatenate([matrix, low]), jnp.concatenate([target, zeros])
