"""Dense and convolutional layers as matrices that act on rows."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from sobng.fields import MLP, SIREN


class Dense(eqx.Module):
    """A layer of a field that keeps its weights and biases in two tuples."""

    weight: Any
    bias: Any


class Layer(eqx.Module):
    r"""A layer of a model, of its parameters or of their gradients: some matrices.

    With `t` the position (one for a dense layer) and `s` the group of channels, the
    output is $y_{ts} = W_s a_{ts}$, where $a$ is what the kernel covers of the input,
    followed by a one if there is a bias.

    The axes: `batch` samples, `t` positions, `s` groups, and for each group `i` inputs
    and `o` outputs.
    """

    module: Any

    @property
    def _conv(self) -> eqx.nn.Conv | None:
        return self.module if isinstance(self.module, eqx.nn.Conv) else None

    @property
    def groups(self) -> int:
        """Groups of channels; one for a dense layer."""
        return 1 if self._conv is None else self._conv.groups

    @property
    def sizes(self) -> tuple[int, int]:
        """Inputs and outputs of a group."""
        outputs, *inputs = self.module.weight.shape
        has_bias = self.module.bias is not None
        return math.prod(inputs) + has_bias, outputs // self.groups

    def matrix(self) -> Float[Array, "s o i"]:
        """Weight and bias, or their gradients."""
        leaves = [self.module.weight, self.module.bias]
        shape = (self.groups, self.sizes[1], -1)
        parts = [leaf.reshape(shape) for leaf in leaves if leaf is not None]
        return jnp.concatenate(parts, axis=2)

    def with_matrix(self, matrix: Float[Array, "s o i"]) -> Any:
        """The module with other numbers: the inverse of `matrix`."""
        weight, bias = self.module.weight, self.module.bias
        new = [
            matrix[:, :, : matrix.shape[2] - (bias is not None)].reshape(weight.shape)
        ]
        if bias is not None:
            new.append(matrix[:, :, -1].reshape(bias.shape))
        leaves = lambda m: [m.weight, m.bias][: len(new)]
        return eqx.tree_at(leaves, self.module, new)

    def input_rows(
        self, x: Float[Array, "batch ..."], one: Float[Array, " batch"]
    ) -> Float[Array, "batch t s i"]:
        """What the matrices act on; `one` stands for the constant input."""
        if self._conv is None:
            rows = x.reshape(len(x), 1, 1, -1)
        else:
            places = jax.vmap(_patches(self._conv, x.dtype))(x)
            size = math.prod(self.module.weight.shape[1:])
            rows = places.reshape(len(x), self.groups, size, -1)
            rows = jnp.moveaxis(rows, 3, 1)
        if self.module.bias is None:
            return rows
        last = jnp.broadcast_to(one[:, None, None, None], (*rows.shape[:3], 1))
        return jnp.concatenate([rows, last], axis=3)

    def output_rows(self, g: Float[Array, "batch ..."]) -> Float[Array, "batch t s o"]:
        """Cotangents of the output in the order of `input_rows`."""
        return jnp.moveaxis(g.reshape(len(g), self.groups, self.sizes[1], -1), 3, 1)


def _patches(conv: eqx.nn.Conv, dtype: Any) -> Callable[[Array], Array]:
    """What each entry of the kernel sees, by a convolution with unit kernels."""
    size = math.prod(conv.kernel_size)
    unit = eqx.nn.Conv(
        conv.num_spatial_dims,
        conv.in_channels,
        conv.in_channels * size,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.in_channels,
        use_bias=False,
        padding_mode=conv.padding_mode,
        dtype=dtype,
        key=jr.key(0),
    )
    kernels = jnp.tile(jnp.eye(size, dtype=dtype), (conv.in_channels, 1))
    kernels = kernels.reshape(-1, 1, *conv.kernel_size)
    return eqx.tree_at(lambda c: c.weight, unit, kernels)


def _is_node(node: Any) -> bool:
    return isinstance(node, eqx.nn.Linear | eqx.nn.Conv | MLP | SIREN)


def _inside(path: Any, node: Any) -> dict[str, Any]:
    """The layers of a node by name."""
    name = jax.tree_util.keystr(path)
    if not isinstance(node, MLP | SIREN):
        return {name: node}
    pairs = enumerate(zip(node.weights, node.biases, strict=True))
    return {f"{name}.weights[{i}]": Dense(*pair) for i, pair in pairs}


def find_layers(tree: PyTree) -> dict[str, Layer]:
    """The layers of a model, of its parameters or of their gradients, by name.

    Layers whose weight does not move, and is `None`, are left out.
    """
    nodes, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_node)
    return {
        name: Layer(module)
        for path, node in nodes
        if _is_node(node)
        for name, module in _inside(path, node).items()
        if module.weight is not None
    }


def replace_layers(tree: PyTree, new: dict[str, Any]) -> PyTree:
    """The tree with something else in the place of the layers that are named.

    In the fields of sobng what is no `Dense` takes the place of the weight alone.
    """

    def one(path, node):
        if not _is_node(node):
            return node
        inside = [new.get(name, old) for name, old in _inside(path, node).items()]
        if not isinstance(node, MLP | SIREN):
            return inside[0]
        # Leaves that do not move are `None`, and stay.
        new_leaves = [m.weight if isinstance(m, Dense) else m for m in inside]
        new_leaves += [
            m.bias if isinstance(m, Dense) else bias
            for m, bias in zip(inside, node.biases, strict=True)
        ]
        num = len(inside)
        return eqx.tree_at(
            lambda m: (m.weights, m.biases),
            node,
            (tuple(new_leaves[:num]), tuple(new_leaves[num:])),
            is_leaf=lambda leaf: leaf is None,
        )

    return jax.tree_util.tree_map_with_path(one, tree, is_leaf=_is_node)
