"""Sums of products of functions of one coordinate."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from sobng.fields._layers import centred_layer, glorot_layer, readout_layer, stack
from sobng.fields.field import AbstractField, check_out, check_sizes, mark
from sobng.fields.scaled import cell_of, UnitCell
from sobng.typing import Key, Number, Point, Value


class Separable(AbstractField):
    r"""A sum of products of one-dimensional networks.

    $$u(x) = c_0 + \sum_{r=1}^{R} c_r \prod_{i=1}^{d} f_{ir}(x_i),$$

    with one network per axis that returns all $f_{i1}, \ldots, f_{iR}$. Use it for
    solutions close to low rank in the coordinates: its size grows with the dimension
    only linearly.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        field = sn.Separable(3, rank=8, width=16, key=jax.random.key(0))
        field(jnp.zeros(3))
        ```

    ??? cite "Reference"

        Cho et al.: Separable physics-informed neural networks (NeurIPS 2023,
        arXiv 2306.15969); the coefficients $c_r$ are ours, as the linear leaves.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    coefficients: Float[Array, "rows rank"]
    constant: Float[Array, " rows"]
    cell: UnitCell | None
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        out: int | None = None,
        rank: int = 16,
        width: int = 32,
        depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: Key,
        domain: Any = None,
        bandwidth: Number = 1.0,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `rank`: products in the sum.
        - `width`, `depth`: hidden layers of the network of each axis.
        - the rest as for [`sobng.MLP`][].

        **Raises:** `ValueError` if a size is not a positive integer, or the domain has
        another dimension.
        """
        check_sizes("Separable", dim=dim, rank=rank, width=width, depth=depth)
        check_out("Separable", out)
        dtype = jnp.result_type(float) if dtype is None else dtype
        coefficient_key, *axis_keys = jr.split(key, dim + 1)

        def axis_layers(axis_key):
            keys = jr.split(axis_key, depth + 1)
            layers = [centred_layer(keys[0], 1, width, bandwidth, dtype)]
            layers += [glorot_layer(k, width, width, dtype) for k in keys[1:-1]]
            return [*layers, readout_layer(keys[-1], width, rank, dtype)]

        # The networks of all axes are stacked: weights are [dim, fan_out, fan_in].
        layers = jax.tree.map(
            lambda *arrays: jnp.stack(arrays), *[axis_layers(k) for k in axis_keys]
        )
        self.weights, self.biases = zip(*layers, strict=True)
        self.coefficients, self.constant = readout_layer(
            coefficient_key, rank, out, dtype
        )
        self.cell = cell_of(domain, "Separable", dim, dtype)
        self.dim = dim
        self.out = out
        self.activation = activation

    def __call__(self, x: Point) -> Value:
        x = x if self.cell is None else self.cell(x)

        def axis_values(weights, biases, coordinate):
            rank = self.coefficients.shape[1]
            return stack(weights, biases, self.activation, coordinate[None], rank)

        factors = jax.vmap(axis_values)(self.weights, self.biases, x)
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        y = self.coefficients @ product + self.constant
        return y[0] if self.out is None else y

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda m: (m.coefficients, m.constant), (True, True))

    def rescaled(self, scale: Any) -> "Separable":
        """The same with `scale` times the first layers; the centres stay."""
        scale = jnp.asarray(scale, self.weights[0].dtype)
        first = (scale * self.weights[0], scale * self.biases[0])
        return eqx.tree_at(lambda m: (m.weights[0], m.biases[0]), self, first)
