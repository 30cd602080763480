"""How many features a linear stage has, and how well they follow a solution."""

import math

from jaxtyping import PyTree

from sobng.fields.features import sine_features
from sobng.fields.mlp import MLP
from sobng.solvers.adaptor import loss_of
from sobng.stages.bandwidth import blanked
from sobng.stages.stage import Context
from sobng.system import System
from sobng.typing import Key


COUNT = {1: 256, 2: 800, 3: 1600}
"""Random sine features for each dimension; a vector field shares fewer (measured)."""

BANDWIDTH = {1: 64.0, 2: 12.0, 3: 4.0}
"""Where the search for their bandwidth starts."""


def feature_field(dim: int, out: int | None, key: Key, times: int = 1) -> MLP:
    """A network of random sine features with a linear last layer, `times` as many."""
    count = times * COUNT[dim] / (1 if out is None else out) ** 0.5
    return sine_features(dim, out=out, num=round(count), key=key)


def start_bandwidth(dim: int) -> float:
    """The first bandwidth to try."""
    return BANDWIDTH.get(dim, 2.0)


FOLLOWED = 1e-3
"""The part of the held-out loss below which features follow a solution, if only roughly."""


def followed(context: Context, unknown: PyTree, part: float = FOLLOWED) -> bool:
    """Whether features took all but a part of the held-out loss away."""

    def loss(unknown):
        watch = System(context.problem, unknown, context.held_out)
        return float(loss_of(watch, watch.params, context.args))

    left, all_of_it = loss(unknown), loss(blanked(unknown))
    return math.isfinite(left) and left <= part * all_of_it
