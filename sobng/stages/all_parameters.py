"""The stage in which every parameter moves: the natural gradient itself."""

from typing import Any

import equinox as eqx

from sobng.fields.time_slabs import slabs_of
from sobng.problem import Energy
from sobng.search.radius import RadiusSearch
from sobng.solvers.gauss_newton import GaussNewton
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.stages.attempt import PATIENT
from sobng.stages.features import features_of, LOW
from sobng.stages.network import fresh_network
from sobng.stages.stage import AbstractStage, GOOD, settled


POOR = 1e-2
"""The error of a linear stage whose features are given up for a network."""

FINE = 1e-12
"""The error of an attempt that moved everything already, which is not trained further."""

CAREFUL = 0.75
"""The gain ratio asked of a step whose points are not seen again: where the model is poor on
those that it was fitted to, it spoils the others."""


class AllParameters(AbstractStage):
    """All parameters move, with Gauss-Newton or, for an energy, natural gradients.

    Features that sobng chose for the last layer alone and that failed (fronts, layers)
    are given up for a tanh network of two hidden layers first: many features move
    slowly, and bend to a front badly.

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
    fresh: int | None = eqx.field(static=True)

    def __init__(
        self,
        solver: Any = None,
        *,
        max_steps: int | None = None,
        fresh: int | None = None,
    ):
        """**Arguments:**

        - `solver`: any solver that `solve` accepts; by default
            [`sobng.GaussNewton`][], or [`sobng.NaturalGradient`][] for an energy. With
            `fresh` its search asks for a gain ratio of 0.75.
        - `max_steps`: the most steps of this stage; no limit of its own by default.
        - `fresh`: steps after which points are drawn anew, where the sampler is random.
            For fields with far more parameters than there is memory for points, which
            would fit any that stay.

        **Raises:** `ValueError` if `fresh` is below one.
        """
        if fresh is not None and not (isinstance(fresh, int) and fresh >= 1):
            raise ValueError(
                f"`fresh` is a number of steps, at least 1. Got {fresh!r}."
            )
        self.fresh = fresh
        self.chosen = solver
        self.name = "all-parameters"
        self.max_steps = max_steps
        self.patience = 200

    def wanted(self, context):
        many = context.problem.dim > LOW and "last-layer" in context.done
        if context.owned and many and features_of(context.unknown) is not None:
            # So many features cannot move; a network that beat them goes on.
            return isinstance(context.problem, Energy)
        if slabs_of(context.unknown) is not None:
            return False
        # After a good linear stage the ill-conditioned features do not move on; a network
        # whose loss fell slowly does.
        return not settled(context, FINE if "attempt" in context.done else GOOD)

    def prepare(self, context):
        poor = context.error is None or context.error > POOR
        poor = poor and context.problem.dim <= LOW
        # An energy's error is never estimated, and its field is a network already.
        features = context.owned and "last-layer" in context.done
        # What `Fronts` found is a network already, and goes on.
        features = features and features_of(context.unknown) is not None
        if not (poor and features) or isinstance(context.problem, Energy):
            return context.unknown
        return fresh_network(context)

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        if self.chosen is not None:
            return self.chosen
        if isinstance(context.problem, Energy):
            return NaturalGradient()
        if self.fresh is not None:
            return GaussNewton(search=RadiusSearch(ratio=CAREFUL))
        if "attempt" in context.done:
            # As it began: a plateau is not left by steps that are asked for more.
            return GaussNewton(search=RadiusSearch(ratio=PATIENT))
        return GaussNewton()
