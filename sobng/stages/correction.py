"""The stage that adds the solution of the defect equation to the field."""

import equinox as eqx
import jax

from sobng.exact import homogeneous
from sobng.fields.algebra import entries
from sobng.fields.field import sizes_of
from sobng.fields.partition import Frozen, linear_leaves
from sobng.fields.sum import Sum
from sobng.problem import Energy
from sobng.stages.bandwidth import best_bandwidth, blanked, followed, undamped
from sobng.stages.features import feature_field, LOW, start_bandwidth
from sobng.stages.stage import AbstractStage


class Correction(AbstractStage):
    r"""Keeps the field and adds fresh features of their own bandwidth, which solve the
    defect equation $R(u + e) = 0$ for $e$.

    Only for a field that sobng chose, up to three dimensions, and only while the
    estimated error is above `above`. Beyond, features leave a rougher error than the
    solution is, and [`sobng.MoreFeatures`][] start afresh.

    !!! example

        ```python
        import sobng as sn

        sn.Correction(above=1e-13)
        ```

    ??? cite "Reference"

        Wang, Lai: Multi-stage neural networks (J. Comput. Phys. 2024, arXiv 2307.08934).
        We differ in: the new stage is linear, so that it is solved and not trained.
    """

    above: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, above: float = 1e-10, max_steps: int | None = 20):
        """**Arguments:**

        - `above`: the estimated error from which on a correction pays.
        - `max_steps`: the most steps.
        """
        self.above = above
        self.name = "correction"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        possible = context.problem.dim <= LOW and context.owned
        if not possible or isinstance(context.problem, Energy):
            return False
        goal = max(self.above, context.tolerance)
        poor = context.error is None or context.error > goal
        return poor and followed(context, context.unknown)

    def prepare(self, context):
        problem = context.problem
        fresh = {}
        for i, (name, u) in enumerate(entries(context.unknown).items()):
            if callable(u):
                _, out = sizes_of("Correction", u, problem.dim)
                key = jax.random.fold_in(context.key, i)
                fresh[name] = feature_field(problem.dim, out, key)
        fresh = homogeneous(problem, context.unknown, fresh)
        parts = {
            name: Sum([Frozen(u), fresh[name]]) if name in fresh else u
            for name, u in entries(context.unknown).items()
        }
        whole = parts if isinstance(context.unknown, dict) else parts[None]
        return blanked(whole)

    def begin(self, context):
        start = start_bandwidth(context.problem.dim)
        return best_bandwidth(context, context.unknown, start)

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped(context.problem.dim)
