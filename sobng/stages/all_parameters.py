"""The stage in which every parameter moves: the natural gradient itself."""

from typing import Any

import equinox as eqx

from sobng.problem import Energy
from sobng.solvers.gauss_newton import GaussNewton
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.stages.stage import AbstractStage


GOOD = 1e-6
"""The error of a linear stage that is not trained further."""


class AllParameters(AbstractStage):
    """All parameters move, with Gauss-Newton or, for an energy, natural gradients.

    !!! example

        ```python
        import sobng as sn

        sn.AllParameters(sn.GaussNewton(metric=sn.SobolevMetric(order=1)))
        ```
    """

    chosen: Any
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, solver: Any = None, *, max_steps: int | None = None):
        """**Arguments:**

        - `solver`: any solver that `solve` accepts; by default
            [`sobng.GaussNewton`][], or [`sobng.NaturalGradient`][] for an energy.
        - `max_steps`: the most steps of this stage; no limit of its own by default.
        """
        self.chosen = solver
        self.name = "all-parameters"
        self.max_steps = max_steps
        self.patience = 200

    def wanted(self, context):
        # After a good linear stage the ill-conditioned features do not move on.
        goal = context.tolerance if context.asked else max(context.tolerance, GOOD)
        return context.error is None or context.error > goal

    def prepare(self, context):
        return context.unknown

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        if self.chosen is not None:
            return self.chosen
        energetic = isinstance(context.problem, Energy)
        return NaturalGradient() if energetic else GaussNewton()
