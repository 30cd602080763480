"""The stage in which the network that sobng chose moves while that goes fast."""

import equinox as eqx

from sobng.problem import Energy
from sobng.search.radius import RadiusSearch
from sobng.solvers.adaptor import loss_of
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.features import LOW, network_of
from sobng.stages.stage import AbstractStage, Context, settled
from sobng.system import System


ENOUGH = 1e-9
"""The error below which no other network is tried."""

PATIENT = 0.1
"""The gain ratio asked of a step: many steps of few parameters are cheap, and end deeper."""

SPOILT = 100.0
"""The held-out over the training loss from which on no other network is tried."""


class Attempt(AbstractStage):
    """All parameters of the network that sobng chose move, while the loss falls fast.

    Only up to three dimensions and for an equation, where [`sobng.Waves`][] and
    [`sobng.Wider`][] have their turn next; a field of yours goes on in
    [`sobng.AllParameters`][] alone.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.Attempt(), sn.Waves(), sn.AllParameters())
        ```
    """

    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, max_steps: int | None = None):
        """**Arguments:**

        - `max_steps`: the most steps; no limit of its own by default.
        """
        self.name = "attempt"
        self.max_steps = max_steps
        self.patience = 40

    def wanted(self, context):
        return may_choose(context)

    def prepare(self, context):
        return context.unknown

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        return GaussNewton(search=RadiusSearch(ratio=PATIENT))


def may_choose(context: Context) -> bool:
    """Whether the unknown is a network that sobng may replace or widen, and should."""
    if not context.owned or isinstance(context.problem, Energy):
        return False
    if context.problem.dim > LOW or settled(context, ENOUGH):
        return False
    network = network_of(context.unknown)
    if network is None or len(network.biases) != 2:
        return False
    return "attempt" not in context.done or not _overfits(context)


def _overfits(context: Context) -> bool:
    """Whether the points miss what the network does between them, as at a front: another
    network would be judged by residuals there, which say little of its error."""

    def loss(points):
        system = System(context.problem, context.unknown, points)
        return float(loss_of(system, system.params, context.args))

    return loss(context.held_out) > SPOILT * loss(context.training)
