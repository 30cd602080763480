"""Random sine features: a network whose last layer alone is solved for."""

import functools as ft
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from sobng.fields.mlp import MLP
from sobng.typing import Key


PAIR = 2
"""Coordinates that a feature of few sees."""

AT_LEAST = 1024
"""Features that are drawn in any case, so that one program draws for most sizes."""


def sine_features(
    dim: int, *, out: int | None = None, num: int, key: Key, few: int = 0
) -> MLP:
    r"""Random waves $\sum_k c_k \sin(w_k \cdot x + b_k)$ with zero coefficients.

    Frequencies are uniform in the unit ball, whose sharp edge makes a bandwidth
    (`with_bandwidth`) mean what it says: tails of a normal distribution would spend
    features on frequencies that the score never asked for. Phases are uniform.

    !!! example

        ```python
        import jax, sobng as sn

        field = sn.with_bandwidth(sn.sine_features(2, num=400, key=jax.random.key(0)), 8.0)
        ```

    **Arguments:**

    - `dim`: coordinates of a point.
    - `out`: components of the value; `None` for a scalar.
    - `num`: features, shared by all components.
    - `key`: for frequencies and phases.
    - `few`: how many of them see but two coordinates each, drawn at random. In many
        dimensions a solution often is nearly a sum of functions of few coordinates, which
        waves in all of them follow badly.

    **Raises:** `ValueError` unless `few` is between zero and `num`.

    ??? cite "Reference"

        Hashemi, Schaeffer, Shi, Topcu, Tran, Ward: Generalization bounds for sparse
        random feature expansions (ACHA 2023, arXiv 2103.03191) draw sparse frequencies.
        We differ in solving for all of them by least squares, beside dense ones.
    """
    if not 0 <= few <= num:
        raise ValueError(
            f"`few` is a part of the {num} features. Got {few}. Give a number from 0 to "
            f"{num}."
        )
    # Without the arrays of a network, which would be drawn only to be replaced.
    field: Any = eqx.filter_eval_shape(
        MLP, dim, out=out, width=num, activation=jnp.sin, key=key
    )
    first, last = field.weights
    size = max(AT_LEAST, 2 ** math.ceil(math.log2(num)))
    frequencies, phases = _waves(key, dim, size, few, first.dtype)
    frequencies, phases = frequencies[:num], phases[:num]
    zeros = [jnp.zeros(a.shape, a.dtype) for a in (last, field.biases[1])]
    return eqx.tree_at(
        lambda f: (f.weights[0], f.biases[0], f.weights[1], f.biases[1]),
        field,
        (frequencies, phases, *zeros),
    )


@ft.partial(jax.jit, static_argnums=(1, 2, 4))
def _waves(key: Key, dim: int, size: int, few: Any, dtype: Any) -> tuple[Array, Array]:
    """Frequencies and phases, by one program: each of its operations by itself would
    compile for as long as all of them. Neither `few` nor a size below `size`, whose
    numbers are the first ones, compiles another."""
    _, direction_key, radius_key, phase_key = jr.split(key, 4)
    # Apart, as a GPU's compiler would else repeat the draws in all that is made of them.
    apart = jax.lax.optimization_barrier
    direction = apart(jr.normal(direction_key, (size, dim), dtype))
    seen = jnp.full((size, 1), dim)
    if dim > PAIR:
        # Independent of the other draws, which are the same for every `few`.
        order = jr.uniform(jr.fold_in(direction_key, 1), (size, dim))
        sparse = jnp.arange(size)[:, None] < few
        hidden = jnp.argsort(jnp.argsort(order, axis=1), axis=1) >= PAIR
        direction = jnp.where(sparse & hidden, 0, direction)
        seen = jnp.where(sparse, PAIR, seen)
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    keys = jnp.stack([radius_key, phase_key])
    radius, phase = apart(jax.vmap(lambda k: jr.uniform(k, (size,), dtype))(keys))
    radius = radius[:, None] ** (1 / seen.astype(dtype))
    return radius * direction, jnp.pi * (2 * phase - 1)
