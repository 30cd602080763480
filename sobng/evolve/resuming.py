"""A step size controller that goes on from steps that were taken before."""

from typing import Any

import diffrax as dfx
from jaxtyping import Array, Float


def resuming(controller: Any, dt: Float[Array, ""], solver: Any, event: Any):
    """Controller and first step for Diffrax, to go on with a step of this length.

    Implicit solvers, events and controllers that Diffrax treats by themselves must see
    what the user gave.
    """
    plain = isinstance(controller, dfx.PIDController) and event is None
    if not plain or isinstance(solver, dfx.AbstractImplicitSolver):
        return controller, dt
    return Resuming(controller, dt), None


class Resuming(dfx.AbstractStepSizeController):
    """A controller of which the next step is known.

    Diffrax checks a first step that it is given by a call back to the host, and programs
    with such a call are kept in no compilation cache.
    """

    controller: dfx.AbstractStepSizeController
    dt: Float[Array, ""]

    def wrap(self, direction):
        return Resuming(self.controller.wrap(direction), self.dt)

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        # Its state is handed on by who goes on.
        return t0 + self.dt, None

    def adapt_step_size(self, *step):
        return self.controller.adapt_step_size(*step)
