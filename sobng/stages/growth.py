"""The stage that gives up a field's features for more of them."""

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.graded import Graded, grading_of
from sobng.fields.mlp import MLP
from sobng.fields.partition import linear_leaves, with_bandwidth
from sobng.problem import Energy
from sobng.stages.bandwidth import best_bandwidth, blanked, undamped
from sobng.stages.features import COUNT, feature_field, followed
from sobng.stages.stage import AbstractStage


class Growth(AbstractStage):
    """Solves anew in twice as many features, of a bandwidth that more of them resolve.

    Only for a field that sobng chose, up to three dimensions, and only while the
    estimated error is above `above`; once, and once more where layers were stretched.
    The driver doubles the points with them.

    !!! example

        ```python
        import sobng as sn

        sn.Growth(above=1e-12)
        ```
    """

    above: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, above: float = 1e-10, max_steps: int | None = 20):
        """**Arguments:**

        - `above`: the estimated error from which on more features pay.
        - `max_steps`: the most steps.
        """
        self.above = above
        self.name = "growth"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        possible = context.problem.dim in COUNT and context.owned
        if not possible or isinstance(context.problem, Energy):
            return False
        goal = max(self.above, context.tolerance)
        poor = context.error is None or context.error > goal
        once = self.name in context.done and grading_of(context.unknown) is None
        # More features do not help at a front.
        return poor and not once and followed(context, context.unknown)

    def prepare(self, context):
        dim = context.problem.dim
        scale = 2 ** (1 / dim) * _bandwidth(context.unknown)
        grading = grading_of(context.unknown)
        fields = dict(entries(context.unknown))
        for i, (name, u) in enumerate(fields.items()):
            if callable(u):
                _, out = sizes_of("Growth", u, dim)
                key = jax.random.fold_in(context.key, i)
                fresh = feature_field(dim, out, key, times=2)
                fields[name] = fresh if grading is None else Graded(fresh, grading)
        whole = impose(context.problem, rebuild(context.unknown, fields))
        return blanked(with_bandwidth(whole, scale))

    def begin(self, context):
        return best_bandwidth(context, context.unknown, 1.0)

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped()


def _bandwidth(unknown) -> float:
    """The highest frequency of the first layers."""
    nodes = jax.tree.leaves(unknown, is_leaf=lambda node: isinstance(node, MLP))
    lengths = [
        float(jnp.max(jnp.linalg.norm(node.weights[0], axis=1)))
        for node in nodes
        if isinstance(node, MLP)
    ]
    return max(lengths, default=1.0)
