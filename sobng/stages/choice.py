"""The field that sobng chooses when the user gives none."""

from collections.abc import Sequence

import jax

from sobng.fields.mlp import MLP
from sobng.problem import Energy, Problem
from sobng.stages.features import COUNT, feature_field, LOW
from sobng.stages.last_layer import LastLayer
from sobng.stages.network import few_sines
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
    if dim > LOW:
        return few_sines(dim, out, key)
    return MLP(dim, out=out, width=64, depth=1, key=key)
