"""A deep network that starts as a linear one."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from sobng.fields._layers import centred_layer, glorot_layer, readout_layer
from sobng.fields.field import AbstractField, check_out, check_sizes, mark
from sobng.fields.scaled import cell_of, UnitCell
from sobng.typing import Key, Number, Point, Value


class ResidualNetwork(AbstractField):
    r"""Gated residual blocks whose depth is switched on by training (PirateNet).

    From an embedding $\phi$ and the gates $U = \sigma(W_u \phi + b_u)$ and
    $V = \sigma(W_v \phi + b_v)$ each block computes, with $\alpha = 0$ at the start,

    $$h \leftarrow \alpha\, g(g(g(h))) + (1 - \alpha)\, h,$$

    where the first two $g$ are a layer $z = \sigma(Wh + b)$ followed by the gate $z U +
    (1 - z) V$ and the third is a layer alone. So it starts as a linear combination of
    $\phi$, which trains well, at any depth. Use it beyond three layers.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        field = sn.ResidualNetwork(2, width=32, blocks=2, key=jax.random.key(0))
        field(jnp.array([0.5, 0.5]))
        ```

    ??? cite "Reference"

        Wang, Li, Chen, Perdikaris: PirateNets: physics-informed deep learning with
        residual adaptive networks (JMLR 2024, arXiv 2402.00326), section 4. We differ
        in: the embedding is one trainable layer of the activation, which `jnp.sin`
        makes theirs.
    """

    embedding: tuple[Array, Array]
    gates: tuple[tuple[Array, Array], tuple[Array, Array]]
    blocks: tuple[tuple[tuple[Array, Array], ...], ...]
    mixing: tuple[Array, ...]
    readout: tuple[Array, Array]
    cell: UnitCell | None
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        out: int | None = None,
        width: int = 64,
        blocks: int = 2,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: Key,
        domain: Any = None,
        bandwidth: Number = 1.0,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `blocks`: residual blocks of three layers each.
        - the rest as for [`sobng.MLP`][].

        **Raises:** `ValueError` if a size is not a positive integer, or the domain has
        another dimension.
        """
        check_sizes("ResidualNetwork", dim=dim, width=width, blocks=blocks)
        check_out("ResidualNetwork", out)
        dtype = jnp.result_type(float) if dtype is None else dtype
        first, last, *keys = jr.split(key, 4 + 3 * blocks)
        layers = [glorot_layer(k, width, width, dtype) for k in keys]
        self.embedding = centred_layer(first, dim, width, bandwidth, dtype)
        self.gates = (layers[0], layers[1])
        self.blocks = tuple(tuple(layers[i : i + 3]) for i in range(2, len(layers), 3))
        self.mixing = tuple(jnp.zeros((), dtype) for _ in range(blocks))
        self.readout = readout_layer(last, width, out, dtype)
        self.cell = cell_of(domain, "ResidualNetwork", dim, dtype)
        self.dim = dim
        self.out = out
        self.activation = activation

    def __call__(self, x: Point) -> Value:
        x = x if self.cell is None else self.cell(x)
        features = self._layer(self.embedding, x)
        gate_on, gate_off = (self._layer(gate, features) for gate in self.gates)

        def gated(layer, z):
            z = self._layer(layer, z)
            return gate_off + z * (gate_on - gate_off)

        h = features
        for (one, two, three), mixing in zip(self.blocks, self.mixing, strict=True):
            update = self._layer(three, gated(two, gated(one, h)))
            h = h + mixing * (update - h)
        weight, bias = self.readout
        y = weight @ h + bias
        return y[0] if self.out is None else y

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda m: m.readout, (True, True))

    def rescaled(self, scale: Any) -> "ResidualNetwork":
        """The same with `scale` times the embedding; the centres stay."""
        scale = jnp.asarray(scale, self.embedding[0].dtype)
        embedding = tuple(scale * array for array in self.embedding)
        return eqx.tree_at(lambda m: m.embedding, self, embedding)

    def _layer(self, layer: tuple[Array, Array], x: Array) -> Array:
        weight, bias = layer
        return self.activation(weight @ x + bias)
