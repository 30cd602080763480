r"""Kronecker factors: for each layer of a model rows of inputs and of cotangents.

With the samples $b, c$ of a batch weighted by a positive definite matrix $M$,

$$A = \sum_{bc} M_{bc}\, a_b a_c^T, \qquad G = \sum_{bc} M_{bc}\, g_b g_c^T.$$

Factors of $M$ act on the rows along the batch, so that neither $M$ nor an inverse is
ever formed.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float, PyTree, Shaped

from sobng.metrics.layers import Layer
from sobng.metrics.taps import capture


class KroneckerRows(eqx.Module):
    r"""One layer's share of a metric, $G \otimes A$ for each group of channels.

    The factors are $A = a^T a$ and $G = g^T g$ for the rows `a` and `g` held here.
    """

    inputs: Float[Array, "s rows i"]
    outputs: Float[Array, "s any o"]

    def grams(self) -> tuple[Float[Array, "s i i"], Float[Array, "s o o"]]:
        """The factors $A$ and $G$."""
        a, g = self.inputs, self.outputs
        return jnp.swapaxes(a, 1, 2) @ a, jnp.swapaxes(g, 1, 2) @ g


def kronecker_rows(
    model: PyTree,
    layers: dict[str, Layer],
    value: Callable[[PyTree, Array], Array],
    inputs: Shaped[Array, "batch ..."],
    cotangents: Callable[[Array], Array],
    weights: Float[Array, " batch"],
    lower: Float[Array, "batch batch"] | None,
) -> dict[str, KroneckerRows]:
    r"""The rows of the layers of a model on a batch.

    Over the positions of a convolution $A$ is a mean and $G$ a sum.

    **Arguments:**

    - `model`, `value`, `inputs`, `cotangents`: as for `capture`.
    - `layers`: those that move.
    - `weights`: of the samples, with sum one. Without a kernel $M$ is their diagonal.
    - `lower`: the Cholesky factor of the kernel matrix, $M \propto K^{-1}$; each factor
        is scaled to the trace that it has without a kernel.
    """
    seen = capture(model, list(layers), value, inputs, cotangents)

    def weigh(a):
        return a * jnp.sqrt(weights).reshape(-1, *[1] * (a.ndim - 1))

    def whiten(a):
        assert lower is not None
        rows = jsl.solve_triangular(lower, a.reshape(len(a), -1), lower=True)
        return rows.reshape(a.shape)

    def rows(name, act):
        x, cotangent = seen[name]
        a = layers[name].input_rows(act(x), act(jnp.ones(len(x), x.dtype)))
        # One solve for all probes: under `vmap` it would not be LAPACK's.
        g = jax.vmap(layers[name].output_rows, 1)(act(cotangent))
        a = jnp.moveaxis(a / a.shape[1] ** 0.5, 2, 0)  # [s, batch, t, i]
        g = jnp.moveaxis(g, 3, 0)  # [s, probes, batch, t, o]
        return KroneckerRows(
            a.reshape(len(a), -1, a.shape[-1]), g.reshape(len(g), -1, g.shape[-1])
        )

    found = {name: rows(name, weigh) for name in layers}
    if lower is None:
        return found
    white = {name: rows(name, whiten) for name in layers}
    return jax.tree.map(_sized_like, white, found)


def _sized_like(rows: Array, other: Array) -> Array:
    """The rows times a number, so that their Gram matrix has the trace of the other."""
    square = jnp.sum(rows**2)
    return rows * jnp.sqrt(jnp.sum(other**2) / jnp.where(square > 0, square, 1))


def cholesky_of_kernel(
    kernel: Callable[[Array, Array], Array],
    points: Float[Array, "batch dim"],
    nugget: float | None,
) -> Float[Array, "batch batch"]:
    """The Cholesky factor of a kernel matrix, scaled to a mean diagonal of one.

    **Raises:** an error at run time if the matrix is not positive definite.
    """
    matrix = jax.vmap(lambda x: jax.vmap(lambda y: kernel(x, y))(points))(points)
    matrix = matrix.astype(points.dtype)
    matrix = matrix / jnp.mean(jnp.diagonal(matrix))
    default = float(jnp.finfo(matrix.dtype).eps) ** 0.5
    shift = default if nugget is None else nugget
    matrix = matrix + shift * jnp.eye(len(points), dtype=matrix.dtype)
    lower = jnp.linalg.cholesky(matrix)
    return eqx.error_if(
        lower,
        ~jnp.all(jnp.isfinite(lower)),
        "The kernel matrix of the batch is not positive definite: the kernel is not, or "
        "two inputs are equal and the nugget is too small. Pass a larger `nugget` to "
        "`KroneckerMetric`.",
    )
