"""Step size controllers that go on from steps that were taken before."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


def resumable(controller: Any) -> Any:
    """A controller whose steps can be taken a few dozen at a time.

    Diffrax' own `StepTo` counts the steps of a call, and begins at its first time.
    """
    return Through(controller.ts) if isinstance(controller, dfx.StepTo) else controller


def resuming(controller: Any, dt: Float[Array, ""], solver: Any, event: Any):
    """Controller and first step for Diffrax, to go on with a step of this length.

    Implicit solvers, events and controllers that Diffrax treats by themselves must see
    what the user gave.
    """
    if isinstance(controller, Through):
        return controller, None
    if isinstance(controller, dfx.ClipStepSizeController):
        # Its own `init` clips the first step, which Diffrax would take as it is given.
        inner = Resuming(controller.controller, dt)
        return eqx.tree_at(lambda c: c.controller, controller, inner), None
    plain = isinstance(controller, dfx.PIDController) and event is None
    if not plain or isinstance(solver, dfx.AbstractImplicitSolver):
        return controller, dt
    return Resuming(controller, dt), None


class Resuming(dfx.AbstractStepSizeController):
    """A controller of which the next step is known.

    Diffrax checks a first step that it is given by a call back to the host, and programs
    with such a call are kept in no compilation cache.
    """

    controller: Any
    dt: Float[Array, ""]

    @property
    def rtol(self):
        return self.controller.rtol

    @property
    def atol(self):
        return self.controller.atol

    @property
    def norm(self):
        return self.controller.norm

    def wrap(self, direction):
        return Resuming(self.controller.wrap(direction), self.dt)

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        # Its state is handed on by who goes on.
        return t0 + self.dt, None

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        return self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
        )


class Through(dfx.AbstractStepSizeController):
    """Steps to the times of a list, from wherever they begin."""

    ts: Float[Array, " times"]

    def wrap(self, direction):
        return Through(self.ts * direction)

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        return self._after(t0), None

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        return True, t1, self._after(t1), False, None, dfx.RESULTS.successful

    def _after(self, t):
        ts = jnp.append(self.ts, jnp.inf)  # beyond the last one Diffrax cuts the step
        return ts[jnp.searchsorted(self.ts, t, side="right")]
