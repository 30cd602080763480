"""Networks whose last layer alone is solved for: their size, their bandwidth."""

import jax
import jax.numpy as jnp

from sobng.fields.mlp import MLP


COUNT = {1: 256, 2: 800, 3: 1600}
"""Random sine features for each dimension (all components together, measured)."""

BANDWIDTH = {1: 64.0, 2: 12.0, 3: 4.0}
"""Where the search for their bandwidth starts."""


def feature_field(dim: int, out: int | None, key: jax.Array) -> MLP:
    """A network of random sine features with a linear last layer."""
    count = COUNT[dim] / (1 if out is None else out) ** 0.5
    return MLP(dim, out=out, width=round(count), activation=jnp.sin, key=key)


def start_bandwidth(dim: int) -> float:
    """The first bandwidth to try."""
    return BANDWIDTH.get(dim, 2.0)
