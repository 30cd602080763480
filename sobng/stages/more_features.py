"""The stage that takes more features where a solution needs them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.graded import Graded, grading_of
from sobng.fields.partition import linear_leaves, with_bandwidth
from sobng.problem import Energy
from sobng.stages.bandwidth import (
    best_bandwidth,
    followed,
    near_bandwidth,
    undamped,
)
from sobng.stages.features import (
    COUNT,
    feature_count,
    feature_field,
    features_of,
    LOW,
)
from sobng.stages.stage import AbstractStage, settled


LOW_ABOVE, HIGH_ABOVE = 1e-10, 1e-7
"""The errors from which on more features pay, up to three dimensions and beyond."""

FEW_TIMES = 2
"""Beyond that many times the features a solve takes minutes: none up to three dimensions,
where a spectrum is taken of them, and no bandwidths are tried in more."""


class MoreFeatures(AbstractStage):
    """Solves anew in more random features, of a bandwidth that more of them resolve.

    Only for features that sobng chose, and that nothing else has beaten. The driver
    multiplies the points with them. Up to three dimensions the bandwidth is chosen anew,
    and only solutions that the first features follow at least roughly get more of them:
    at a front they would be wasted. Stretched coordinates stay.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.LastLayer(), sn.MoreFeatures(2), sn.MoreFeatures(9))
        ```
    """

    times: float = eqx.field(static=True)
    above: float | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(
        self,
        times: float | int,
        *,
        above: float | None = None,
        max_steps: int | None = 20,
    ):
        """**Arguments:**

        - `times`: how many, in units of those of the first stage. More than twice as many
            only beyond three dimensions.
        - `above`: the estimated error, or residual where there is none, from which on more
            of them pay; by default 1e-10 up to three dimensions and 1e-7 beyond.
        - `max_steps`: the most steps; a linear problem needs one.
        """
        self.times = float(times)
        self.above = above
        self.name = "more-features"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        dim = context.problem.dim
        before = features_of(context.unknown)
        if not context.owned or before is None or isinstance(context.problem, Energy):
            return False
        if dim not in COUNT:
            return False
        if feature_count(dim, before.out, self.times) <= len(before.biases[0]):
            return False
        low = dim <= LOW
        above = (LOW_ABOVE if low else HIGH_ABOVE) if self.above is None else self.above
        if settled(context, above):
            return False
        return not low or (
            self.times <= FEW_TIMES and followed(context, context.unknown)
        )

    def prepare(self, context):
        problem, dim = context.problem, context.problem.dim
        before: Any = features_of(context.unknown)
        grading = grading_of(context.unknown)
        fields = dict(entries(context.unknown))
        for i, (name, u) in enumerate(fields.items()):
            if callable(u):
                _, out = sizes_of("MoreFeatures", u, dim)
                key = jax.random.fold_in(context.key, i)
                fresh = feature_field(dim, out, key, self.times)
                fields[name] = fresh if grading is None else Graded(fresh, grading)
        unknown = impose(problem, rebuild(context.unknown, fields))
        after: Any = features_of(unknown)
        waves = jnp.linalg.norm(before.weights[0], axis=1)
        ratio = len(after.biases[0]) / len(waves)
        # Features resolve as many more waves as there are more of them; beyond three
        # dimensions the best bandwidth grows more slowly (measured).
        power = 1 / dim if dim <= LOW else 1 / (2 * dim)
        return with_bandwidth(unknown, jnp.max(waves) * ratio**power)

    def begin(self, context):
        if context.problem.dim <= LOW:
            return best_bandwidth(context, context.unknown, 1.0)
        if self.times <= FEW_TIMES:
            return near_bandwidth(context, context.unknown)
        return context.unknown

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped(context.problem.dim)
