"""Initial weights, and a plain stack of layers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from sobng.typing import Key, Point, Value


def stack(
    weights: tuple[Any, ...],
    biases: tuple[Array, ...],
    activation: Callable[[Array], Array],
    x: Point,
    out: int | None,
) -> Value:
    """Affine maps with an activation between them; weights are `[fan_out, fan_in]`.

    They may be anything that acts by `@`: metrics put taps there.
    """
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = activation(weight @ x + bias)
    y = weights[-1] @ x + biases[-1]
    return y[0] if out is None else y


def centred_layer(
    key: Key, dim: int, width: int, bandwidth: Any, dtype: Any
) -> tuple[Float[Array, "width dim"], Float[Array, " width"]]:
    """Normal weights, and biases that spread the centres over `[-1, 1]^dim`."""
    weight_key, centre_key = jr.split(key)
    weight = jnp.asarray(bandwidth, dtype) * jr.normal(weight_key, (width, dim), dtype)
    centres = jr.uniform(centre_key, (width, dim), dtype, -1, 1)
    return weight, -jnp.sum(weight * centres, axis=1)


def glorot_layer(
    key: Key, fan_in: int, fan_out: int, dtype: Any
) -> tuple[Float[Array, "fan_out fan_in"], Float[Array, " fan_out"]]:
    """Uniform weights of variance `2 / (fan_in + fan_out)` and no bias."""
    bound = float(np.sqrt(6 / (fan_in + fan_out)))
    weight = jr.uniform(key, (fan_out, fan_in), dtype, -bound, bound)
    return weight, jnp.zeros((fan_out,), dtype)


def readout_layer(
    key: Key, fan_in: int, out: int | None, dtype: Any
) -> tuple[Float[Array, "out fan_in"], Float[Array, " out"]]:
    """Normal weights of variance `1 / fan_in` and no bias; one row for a scalar."""
    rows = 1 if out is None else out
    weight = jr.normal(key, (rows, fan_in), dtype) / jnp.asarray(fan_in**0.5, dtype)
    return weight, jnp.zeros((rows,), dtype)
