"""How many features a linear stage has, and where the search for their bandwidth starts."""

import equinox as eqx
import jax
from jaxtyping import PyTree

from sobng.fields.features import sine_features
from sobng.fields.mlp import MLP
from sobng.fields.partition import linear_leaves
from sobng.typing import Key


COUNT = {1: 256, 2: 800, 3: 1600}
"""Random sine features for each dimension; a vector field shares fewer (measured)."""

ENOUGH = 128
"""Fewer features than this are better trained than chosen."""

BANDWIDTH = {1: 64.0, 2: 12.0, 3: 4.0}
"""Where the search for their bandwidth starts."""


def feature_field(dim: int, out: int | None, key: Key) -> MLP:
    """A network of random sine features with a linear last layer."""
    count = COUNT[dim] / (1 if out is None else out) ** 0.5
    return sine_features(dim, out=out, num=round(count), key=key)


def start_bandwidth(dim: int) -> float:
    """The first bandwidth to try."""
    return BANDWIDTH.get(dim, 2.0)


def linear_size(unknown: PyTree) -> int:
    """How many numbers of an unknown act linearly on its fields."""
    moving, _ = eqx.partition(unknown, linear_leaves(unknown))
    return sum(leaf.size for leaf in jax.tree.leaves(moving))
