"""The field that sobng chooses when the user gives none."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sobng.fields.mlp import MLP
from sobng.problem import Energy, Problem
from sobng.stages.features import COUNT, feature_field
from sobng.stages.last_layer import LastLayer
from sobng.stages.stage import AbstractStage


def choose_field(
    problem: Problem | Energy, stages: Sequence[AbstractStage], key: jax.Array
) -> MLP:
    """Random sine features where a stage solves for the last layer alone; else a network
    of 64 neurons, tanh up to three dimensions and sine beyond.
    """
    dim, out = problem.dim, problem.out
    linear = any(isinstance(stage, LastLayer) for stage in stages)
    if linear and dim in COUNT and isinstance(problem, Problem):
        return feature_field(dim, out, key)
    activation = jnp.tanh if dim <= 3 else jnp.sin
    return MLP(dim, out=out, width=64, depth=1, activation=activation, key=key)
