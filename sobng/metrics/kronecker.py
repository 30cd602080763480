"""The Kronecker-factored approximation of a kernel-weighted Gram matrix."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.metrics.layers import find_layers, Layer
from sobng.metrics.taps import capture
from sobng.typing import Vector


def categorical(y: Vector, v: Vector) -> Vector:
    r"""The square root of the Fisher information of a softmax, for `KroneckerMetric`.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        sn.categorical(jnp.zeros(3), jnp.array([1.0, 0.0, 0.0]))
        ```

    **Arguments:**

    - `y`: the logits.
    - `v`: a vector of the same length.

    **Returns:** $S v$, with $S S^T = \operatorname{diag}(p) - p p^T$ for the
    probabilities $p$.
    """
    p = jax.nn.softmax(y)
    root = jnp.sqrt(p)
    return root * v - p * jnp.dot(root, v)


def _euclidean(y, v):
    del y
    return v


class KroneckerRows(eqx.Module):
    r"""One layer's share of the metric: for each group of channels $G \otimes A$.

    Rows $\tilde a, \tilde g$ give $A = \tilde a^T \tilde a$ and
    $G = \tilde g^T \tilde g$.
    """

    inputs: Float[Array, "s rows i"]
    outputs: Float[Array, "s any o"]

    def grams(self) -> tuple[Float[Array, "s i i"], Float[Array, "s o o"]]:
        """The matrices $A$ and $G$."""
        a, g = self.inputs, self.outputs
        return jnp.swapaxes(a, 1, 2) @ a, jnp.swapaxes(g, 1, 2) @ g


class KroneckerMetric(eqx.Module):
    r"""..."""

    kernel: Callable | None
    output: Callable = eqx.field(static=True)
    nugget: float | None = eqx.field(static=True)

    def __init__(
        self,
        kernel: Callable | None = None,
        *,
        output: Callable[[Array, Array], Array] = _euclidean,
        nugget: float | None = None,
    ):
        self.kernel = kernel
        self.output = output
        self.nugget = nugget

    def rows(
        self,
        model: PyTree,
        inputs: Float[Array, "batch ..."],
        *,
        probes: Callable[[Vector], Float[Array, "probes out"]] | None = None,
        layers: dict[str, Layer] | None = None,
        value: Callable[[PyTree, Array], Array] | None = None,
        weights: Float[Array, " batch"] | None = None,
    ) -> dict[str, KroneckerRows]:
        layers = find_layers(model) if layers is None else layers
        value = (lambda model, x: jnp.ravel(model(x))) if value is None else value
        if weights is None:
            weights = jnp.full(len(inputs), 1 / len(inputs), inputs.dtype)

        def cotangents(y):
            v = jnp.eye(y.size, dtype=y.dtype) if probes is None else probes(y)
            return jax.vmap(self.output, (None, 0))(y, v)

        seen = capture(model, list(layers), value, inputs, cotangents)
        whiten = None if self.kernel is None else self._whitening(inputs)
        return {name: _rows(layer, *seen[name], weights, whiten) for name, layer in layers.items()}

    def _whitening(self, inputs):
        """Multiplication by $L^{-1}$ along the first axis, for $L L^T$ the kernel matrix."""
        points = inputs.reshape(len(inputs), -1)
        kernel = self.kernel
        kernel = kernel.fitted(points) if hasattr(kernel, "fitted") else kernel
        gram = jax.vmap(lambda x: jax.vmap(lambda y: kernel(x, y))(points))(points)
        gram = gram.astype(inputs.dtype)
        eps = float(jnp.finfo(gram.dtype).eps)
        nugget = eps**0.5 if self.nugget is None else self.nugget
        gram = gram / jnp.mean(jnp.diagonal(gram))
        lower = jnp.linalg.cholesky(gram + nugget * jnp.eye(len(gram), dtype=gram.dtype))
        lower = eqx.error_if(lower, ~jnp.all(jnp.isfinite(lower)), "...")

        def whiten(a):
            flat = a.reshape(len(a), -1)
            flat = jax.scipy.linalg.solve_triangular(lower, flat, lower=True)
            return flat.reshape(a.shape)

        return whiten


def _rows(layer: Layer, x, cotangents, weights, whiten) -> KroneckerRows:
    def weigh(a):
        return a * jnp.sqrt(weights).reshape(-1, *[1] * (a.ndim - 1))

    def both(act):
        a = layer.input_rows(act(x), act(jnp.ones(len(x), x.dtype)))
        g = jax.vmap(lambda g: layer.output_rows(act(g)))(cotangents)
        a = a / a.shape[1] ** 0.5
        a = jnp.moveaxis(a, 2, 0)  # [s, batch, t, i]
        g = jnp.moveaxis(g, 3, 0)  # [s, probes, batch, t, o]
        return (
            a.reshape(len(a), -1, a.shape[-1]),
            g.reshape(len(g), -1, g.shape[-1]),
        )

    plain = both(weigh)
    if whiten is None:
        return KroneckerRows(*plain)
    return KroneckerRows(*map(_sized_like, both(whiten), plain))


def _sized_like(rows: Array, plain: Array) -> Array:
    """The rows times a number, so that their Gram matrix has the trace of the other."""
    total = jnp.sum(rows**2)
    return rows * jnp.sqrt(jnp.sum(plain**2) / jnp.where(total > 0, total, 1))
