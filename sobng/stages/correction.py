"""The stage that adds the solution of the defect equation to the field."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import homogeneous
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.mlp import MLP
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.fields.sum import Sum
from sobng.problem import Energy
from sobng.stages.bandwidth import best_bandwidth, blanked, undamped
from sobng.stages.features import COUNT, ENOUGH, feature_field, LOW, start_bandwidth
from sobng.stages.stage import AbstractStage, Context, settled


class Correction(AbstractStage):
    r"""Keeps the field and adds fresh features of their own bandwidth, which solve the
    defect equation $R(u + e) = 0$ for $e$.

    Only for a field that sobng chose, and only while the estimated error is above
    `above`. Beyond three dimensions as many features again gain little: only with
    `times`, and by one step.

    !!! example

        ```python
        import sobng as sn

        sn.Correction(above=1e-13)
        sn.Correction(times=4)    # in four to ten dimensions
        ```

    ??? cite "Reference"

        Wang, Lai: Multi-stage neural networks (J. Comput. Phys. 2024, arXiv 2307.08934).
        We differ in: the new stage is linear, so that it is solved and not trained.
    """

    above: float = eqx.field(static=True)
    times: float | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        above: float = 1e-10,
        times: float | None = None,
        max_steps: int | None = 20,
    ):
        """**Arguments:**

        - `above`: the estimated error from which on a correction pays.
        - `times`: features, in units of those of the first stage, beyond three dimensions.
        - `max_steps`: the most steps.
        """
        self.above = above
        self.times = times
        self.name = "correction"
        # One step with so many features is the dearest of a run, and solves what is linear.
        self.max_steps = max_steps if times is None else 1
        self.patience = 2

    def wanted(self, context):
        dim = context.problem.dim
        possible = dim in COUNT and context.owned
        if not possible or isinstance(context.problem, Energy):
            return False
        return (dim > LOW) == (self.times is not None) and not settled(
            context, self.above
        )

    def prepare(self, context):
        times = 1.0 if self.times is None else self.times
        return _corrected(context, context.unknown, times)

    def begin(self, context):
        dim = context.problem.dim
        start = start_bandwidth(dim)
        if self.times is None:
            found, _ = best_bandwidth(context, context.unknown, start)
            return found
        # As wide as the last features that were chosen, or wider as their volume says.
        known = [m for m in _networks(context.unknown) if len(m.biases[0]) >= ENOUGH]
        *before, fresh = known
        if before:
            waves = jnp.linalg.norm(before[-1].weights[0], axis=1)
            width, ratio = jnp.max(waves), len(fresh.biases[0]) / len(waves)
        else:
            _, width = best_bandwidth(context, _fewer(context), start)
            ratio = self.times
        return with_bandwidth(context.unknown, width * ratio ** (1 / dim))

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped(context.problem.dim)


def _corrected(context: Context, unknown: Any, times: float) -> Any:
    """The unknown, frozen, plus fresh features that are zero."""
    problem = context.problem
    fresh = {}
    for i, (name, u) in enumerate(entries(unknown).items()):
        if callable(u):
            _, out = sizes_of("Correction", u, problem.dim)
            key = jax.random.fold_in(context.key, i)
            fresh[name] = feature_field(problem.dim, out, key, times)
    fresh = homogeneous(problem, unknown, fresh)
    parts = {
        name: Sum([Frozen(u), fresh[name]]) if name in fresh else u
        for name, u in entries(unknown).items()
    }
    return blanked(rebuild(unknown, parts))


def _fewer(context: Context) -> Any:
    """The prepared unknown with the usual number of fresh features."""
    parts = {
        name: u.fields[0].value if isinstance(u, Sum) else u
        for name, u in entries(context.unknown).items()
    }
    return _corrected(context, rebuild(context.unknown, parts), 1.0)


def _networks(unknown: Any) -> list[MLP]:
    """All networks of an unknown, frozen ones too, in the order in which they were added."""

    def network(node):
        return isinstance(node, MLP)

    return [m for m in jax.tree.leaves(unknown, is_leaf=network) if network(m)]
