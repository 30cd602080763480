"""The sine network with its own initial weights."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from sobng.fields._layers import stack
from sobng.fields.field import AbstractField, check_out, check_sizes, mark
from sobng.fields.scaled import cell_of, UnitCell
from sobng.typing import Key, Number, Point, Value


class SIREN(AbstractField):
    r"""A multilayer perceptron of sines with Sitzmann's initial weights.

    The first layer is uniform of size `bandwidth / dim`, hidden layers are uniform of
    size $\sqrt{6 / \text{width}}$, so that every layer sees the same distribution. For
    functions with one or two dominant frequencies set `bandwidth` to about the largest
    of them, per half the size of the domain.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        field = sn.SIREN(2, width=32, depth=2, key=jax.random.key(0))
        field(jnp.array([0.5, 0.5]))
        ```

    ??? cite "Reference"

        Sitzmann et al.: Implicit neural representations with periodic activation
        functions (NeurIPS 2020, arXiv 2006.09661), section 3.2. We differ in: their
        factor of 30 is multiplied into the weights, and the biases are uniform on a
        whole period.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    cell: UnitCell | None
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        out: int | None = None,
        width: int = 64,
        depth: int = 1,
        key: Key,
        domain: Any = None,
        bandwidth: Number = 30.0,
        dtype: Any = None,
    ):
        """**Arguments:** as for [`sobng.MLP`][]; the largest frequency is `bandwidth`.

        **Raises:** `ValueError` if a size is not a positive integer, or the domain has
        another dimension.
        """
        check_sizes("SIREN", dim=dim, width=width, depth=depth)
        check_out("SIREN", out)
        dtype = jnp.result_type(float) if dtype is None else dtype
        rows = 1 if out is None else out
        sizes = (dim, *[width] * depth, rows)
        weights, biases = [], []
        for i, layer_key in enumerate(jr.split(key, depth + 1)):
            weight_key, bias_key = jr.split(layer_key)
            shape = (sizes[i + 1], sizes[i])
            bound = 1 / dim if i == 0 else float(np.sqrt(6 / width))
            weights.append(jr.uniform(weight_key, shape, dtype, -bound, bound))
            phase = 0.0 if i == depth else float(np.pi)
            biases.append(jr.uniform(bias_key, shape[:1], dtype, -phase, phase))
        weights[0] = weights[0] * jnp.asarray(bandwidth, dtype)
        self.weights = tuple(weights)
        self.biases = tuple(biases)
        self.cell = cell_of(domain, "SIREN", dim, dtype)
        self.dim = dim
        self.out = out

    def __call__(self, x: Point) -> Value:
        x = x if self.cell is None else self.cell(x)
        return stack(self.weights, self.biases, jnp.sin, x, self.out)

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda m: (m.weights[-1], m.biases[-1]), (True, True))

    def rescaled(self, scale: Any) -> "SIREN":
        """The same with `scale` times the frequencies of the first layer."""
        first = jnp.asarray(scale, self.weights[0].dtype) * self.weights[0]
        return eqx.tree_at(lambda m: m.weights[0], self, first)
