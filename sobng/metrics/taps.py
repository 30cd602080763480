"""The inputs of a model's layers, and the cotangents of their outputs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

from sobng.metrics.layers import find_layers, replace_layers


class _Tapped(eqx.Module):
    """A layer, or the matrix of one, that lets itself be watched."""

    layer: Any
    watch: Callable

    def __call__(self, x, *, key=None):
        return self.watch(x, lambda x: self.layer(x, key=key))

    def __matmul__(self, x):
        return self.watch(x, lambda x: self.layer.weight @ x)


@jax.custom_vjp
def _tap(x, slot, count):
    """The identity in `x`; the derivative in `slot` is `x` itself, in `count` one.

    So a gradient carries the input out of whatever the model puts around the layer
    (`jit`, `checkpoint`), and says how often the layer is used.
    """
    del slot, count
    return x


def _tap_forward(x, slot, count):
    del slot, count
    return x, x


def _tap_backward(x, cotangent):
    # One, made from the cotangent: below a `vmap` of the model's own a constant would
    # stay a single one, where this one is summed.
    one = jnp.where(jnp.any(cotangent != 0), 1, 1).astype(x.dtype)
    return cotangent, x, one


_tap.defvjp(_tap_forward, _tap_backward)


def _tapped(model: PyTree, watches: dict[str, Callable]) -> PyTree:
    layers = find_layers(model)
    taps = {name: _Tapped(layers[name].module, watches[name]) for name in watches}
    return replace_layers(model, taps)


def _blank(leaf: Any) -> Any:
    """Zeros like an array, known even where the array is traced."""
    if not eqx.is_array(leaf) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    with jax.ensure_compile_time_eval():
        return jnp.zeros(leaf.shape, leaf.dtype)


def _slots(
    model: PyTree, names: list[str], value: Callable, x: Array
) -> dict[str, tuple[Array, Array]]:
    """Zeros in the shape of each layer's input and output, for one sample.

    **Raises:** `ValueError` if a layer is not used exactly once.
    """
    slots = {}

    def total(counts, model, x):
        def watched(name):
            def watch(x, apply):
                y = apply(_tap(x, jnp.zeros_like(x), counts[name].astype(x.dtype)))
                slots[name] = (_blank(x), _blank(y))
                return y

            return watch

        tapped = _tapped(model, {name: watched(name) for name in names})
        return jnp.sum(value(tapped, x))

    # The uses do not depend on any number, so they are known while tracing: on zeros,
    # of whose arithmetic the compiler keeps nothing but the counts.
    with jax.ensure_compile_time_eval():
        blank = jax.tree.map(_blank, (model, x))
        counts = {name: jnp.zeros(()) for name in names}
        uses = jax.jit(jax.grad(lambda counts: total(counts, *blank)))(counts)
    for name, count in jax.device_get(uses).items():
        if count != 1:
            raise ValueError(
                "The Kronecker approximation needs layers that are used exactly once "
                f"for each sample. `model{name}` is used {int(count)} times. Give each "
                "use a layer of its own (a dense layer mapped over positions is a "
                "convolution with a kernel of size one)."
            )
    return slots


def capture(
    model: PyTree,
    names: list[str],
    value: Callable[[PyTree, Array], Array],
    inputs: Shaped[Array, "batch ..."],
    cotangents: Callable[[Array], Array],
) -> dict[str, tuple[Array, Array]]:
    """What every layer sees in a pass forward, and in passes backward from the output.

    **Arguments:**

    - `model`: holds the layers.
    - `names`: of the layers to look at.
    - `value`: evaluates a model on one sample; returns a vector.
    - `inputs`: the samples.
    - `cotangents`: for the value at a sample, the vectors that are pulled back from
        it, stacked.

    **Returns:** for each layer its inputs `[batch, ...]`, and the cotangents of its
    outputs `[batch, probes, ...]`.

    **Raises:** `ValueError` if a layer is not used exactly once.
    """
    slots = _slots(model, names, value, inputs[0])

    def watched(slot):
        before, after = slot
        zero = jnp.zeros((), before.dtype)
        return lambda x, apply: apply(_tap(x, before, zero)) + after

    def one(x):
        def run(slots):
            watches = {name: watched(slot) for name, slot in slots.items()}
            return value(_tapped(model, watches), x)

        y, pull = jax.vjp(run, slots)
        (found,) = jax.vmap(pull)(cotangents(y))
        return found

    found = jax.vmap(one)(inputs)
    return {name: (a[:, 0], g) for name, (a, g) in found.items()}
