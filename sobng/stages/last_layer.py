"""The stage in which only the leaves move that act linearly on the field."""

import equinox as eqx
import jax

from sobng.fields.partition import linear_leaves
from sobng.problem import Energy
from sobng.solvers.gauss_newton import GaussNewton
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.stages.stage import AbstractStage


class LastLayer(AbstractStage):
    """Only the last layer moves: least squares if the problem is linear, else a few
    Gauss-Newton steps on fixed features.

    !!! example

        ```python
        import sobng as sn

        sn.LastLayer()
        ```
    """

    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, max_steps: int | None = 40):
        """**Arguments:**

        - `max_steps`: the most steps; a linear problem needs two or three.
        """
        self.name = "last-layer"
        self.max_steps = max_steps
        self.patience = 3

    def wanted(self, context):
        return any(jax.tree.leaves(linear_leaves(context.unknown)))

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        if isinstance(context.problem, Energy):
            return NaturalGradient()
        return GaussNewton()
