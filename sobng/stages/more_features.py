"""The stage that takes more features where a solution needs them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.partition import linear_leaves, with_bandwidth
from sobng.stages.bandwidth import undamped
from sobng.stages.features import feature_field, features_of, LOW
from sobng.stages.stage import AbstractStage, settled


class MoreFeatures(AbstractStage):
    """In four to ten dimensions: fresh random features in greater number, solved for as the
    first ones were.

    Their bandwidth is that of the features before them, wider as the volume of so many
    waves says. Only for features that sobng chose, and that nothing else has beaten.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.LastLayer(), sn.MoreFeatures(3), sn.MoreFeatures(6))
        ```
    """

    times: float = eqx.field(static=True)
    above: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(
        self, times: float | int, *, above: float = 1e-7, max_steps: int | None = 20
    ):
        """**Arguments:**

        - `times`: how many, in units of those of the first stage.
        - `above`: the estimated error, or residual where there is none, from which on more
            of them pay.
        - `max_steps`: the most steps; a linear problem needs one.
        """
        self.times = float(times)
        self.above = above
        self.name = "more-features"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        features = context.owned and context.problem.dim > LOW
        if not features or features_of(context.unknown) is None:
            return False
        return not settled(context, self.above)

    def prepare(self, context):
        problem, dim = context.problem, context.problem.dim
        before: Any = features_of(context.unknown)
        fields = dict(entries(context.unknown))
        for i, (name, u) in enumerate(fields.items()):
            if callable(u):
                _, out = sizes_of("MoreFeatures", u, dim)
                key = jax.random.fold_in(context.key, i)
                fields[name] = feature_field(dim, out, key, self.times)
        unknown = impose(problem, rebuild(context.unknown, fields))
        fresh: Any = features_of(unknown)
        waves = jnp.linalg.norm(before.weights[0], axis=1)
        ratio = len(fresh.biases[0]) / len(waves)
        return with_bandwidth(unknown, jnp.max(waves) * ratio ** (1 / dim))

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped(context.problem.dim)
