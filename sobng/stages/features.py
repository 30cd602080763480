"""How many features a linear stage has, and where the search for their bandwidth starts."""

from typing import Any

import jax

from sobng.fields.features import sine_features
from sobng.fields.mlp import MLP
from sobng.typing import Key


LOW = 3
"""Up to so many dimensions features follow whatever is smooth."""

ENOUGH = 128
"""Fewer features than this are better trained than chosen."""

COUNT = {1: 256, 2: 800, 3: 1600} | dict.fromkeys(range(4, 11), 1500)
"""Random sine features for each dimension; a vector field shares fewer (measured)."""

BANDWIDTH = {1: 64.0, 2: 12.0, 3: 4.0}
"""Where the search for their bandwidth starts."""


def feature_count(dim: int, out: int | None, times: float = 1.0) -> int:
    """How many features a field of so many components has, `times` the usual number."""
    return round(times * COUNT[dim] / (1 if out is None else out) ** 0.5)


def feature_field(dim: int, out: int | None, key: Key, times: float = 1.0) -> MLP:
    """A network of random sine features with a linear last layer.

    Beyond three dimensions half of the usual number see two coordinates only.

    **Arguments:**

    - `times`: how many, in units of the usual number.
    """
    few = feature_count(dim, out, 0.5) if dim > LOW else 0
    num = feature_count(dim, out, times)
    return sine_features(dim, out=out, num=num, key=key, few=few)


def start_bandwidth(dim: int) -> float:
    """The first bandwidth to try."""
    return BANDWIDTH.get(dim, 2.0)


def features_of(unknown: Any) -> MLP | None:
    """The first of an unknown's fields that is so many sines that sobng chose them to be
    solved for; `None` without one."""

    return next((m for m in _networks(unknown) if len(m.biases[0]) >= ENOUGH), None)


def network_of(unknown: Any) -> MLP | None:
    """The first of an unknown's fields that is a plain network; `None` without one."""

    return next(iter(_networks(unknown)), None)


def _networks(unknown: Any) -> list[MLP]:
    def network(node):
        return isinstance(node, MLP)

    return [m for m in jax.tree.leaves(unknown, is_leaf=network) if network(m)]
