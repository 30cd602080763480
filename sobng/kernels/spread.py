"""A few well-spread points among many."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from sobng.typing import Points


@functools.partial(jax.jit, static_argnums=1)
def spread(points: Points, num: int) -> Int[Array, " num"]:
    """The indices of `num` points, each as far as possible from those before it.

    So fewer points are always among more points. The first is the one farthest from the
    centre.
    """

    def choose(i, state):
        chosen, distance = state
        farthest = jnp.argmax(distance)
        near = jnp.sum((points - points[farthest][None]) ** 2, axis=1)
        # Before the first, distances are those from the centre.
        distance = jnp.where(i == 0, near, jnp.minimum(distance, near))
        return chosen.at[i].set(farthest.astype(chosen.dtype)), distance

    centre = jnp.mean(points, axis=0)
    start = jnp.sum((points - centre[None]) ** 2, axis=1)
    chosen = jnp.zeros(num, jnp.int32)
    return jax.lax.fori_loop(0, num, choose, (chosen, start))[0]
