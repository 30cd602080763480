"""The stage in which only the leaves move that act linearly on the field."""

import equinox as eqx
import jax

from sobng.fields.partition import linear_leaves
from sobng.problem import Energy
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.stages.bandwidth import best_bandwidth, blanked, undamped
from sobng.stages.features import COUNT, ENOUGH, LOW, start_bandwidth
from sobng.stages.stage import AbstractStage


class LastLayer(AbstractStage):
    """Only the last layer moves: least squares if the problem is linear, else a few
    Gauss-Newton steps on fixed features.

    First the bandwidth of the first layer is chosen: a few such solves, scored on
    residuals at points that they have not seen. Beyond three dimensions only for features
    that sobng chose; from eleven on the stage is skipped.

    !!! example

        ```python
        import sobng as sn

        sn.LastLayer(bandwidth=False)
        ```
    """

    bandwidth: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, bandwidth: bool = True, max_steps: int | None = 40):
        """**Arguments:**

        - `bandwidth`: whether the first layer is rescaled.
        - `max_steps`: the most steps; a linear problem needs two or three.
        """
        self.bandwidth = bandwidth
        self.name = "last-layer"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        dim = context.problem.dim
        if dim > LOW and not (context.owned and dim in COUNT):
            return False
        moving, _ = eqx.partition(context.unknown, linear_leaves(context.unknown))
        size = sum(leaf.size for leaf in jax.tree.leaves(moving))
        # Few features end at an ill-conditioned optimum from which nothing moves on.
        return size >= ENOUGH

    def prepare(self, context):
        return context.unknown

    def begin(self, context):
        if isinstance(context.problem, Energy):
            # Nothing has no norm to be divided by.
            start = context.problem.normalise is None
            return blanked(context.unknown) if start else context.unknown
        blank = blanked(context.unknown)
        if not self.bandwidth:
            return blank
        start = start_bandwidth(context.problem.dim) if context.owned else 1.0
        return best_bandwidth(context, blank, start)

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        if isinstance(context.problem, Energy):
            return NaturalGradient()
        return undamped(context.problem.dim)
