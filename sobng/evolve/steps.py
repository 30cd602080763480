"""By which solver and in which steps a motion is taken."""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.evolve.correcting import Correcting
from sobng.evolve.exponential import ExponentialGauss
from sobng.evolve.fitted import FittedRungeKutta
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.projection import CUT
from sobng.evolve.resuming import resumable
from sobng.once import once


FINER = 0.1
"""Tolerances of the steps that judge those of a user, in units of theirs."""


REST = 1e-4
"""The part of where it goes that a state at rest is smaller than."""

LOOKS = (0.0, 0.23, 0.61, 1.0)
"""Where in the time of a run the force on a state at rest is looked at."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """What a user says of solver and steps; `None` for what suits the motion."""

    solver: Any = None
    controller: Any = None
    dt0: Any = None
    corrections: int = 0

    @property
    def named(self) -> bool:
        """Whether a user says how long steps are, so that no level changes them."""
        return self.controller is not None

    def finer(self) -> "Steps":
        """Shorter steps of the same kind, to tell the error of these."""
        half = None if self.dt0 is None else self.dt0 / 2
        return dataclasses.replace(self, controller=finer(self.controller), dt0=half)

    def of(
        self, motion: Any, y: Float[Array, " size"], step: float, size: float
    ) -> tuple[Any, Any]:
        """Solver and controller of one motion.

        **Arguments:**

        - `step`: the tolerance of a step, relative to `size`, that of the state.
        """
        frozen = isinstance(motion, Galerkin)
        solver, controller = self.solver, self.controller
        if controller is None:
            # An array, as another number would be compiled anew.
            atol = jnp.asarray(step * size / y.size**0.5, y.dtype)
            controller = dfx.PIDController(rtol=0.0, atol=atol)
        if frozen and (solver is None or isinstance(solver, FittedRungeKutta)):
            solver = ExponentialGauss(motion.rates, tolerance=1e-2 * step)
        elif solver is None:
            solver = dfx.Dopri8()
        if not frozen and self.corrections:
            solver = Correcting(solver, self.corrections)
        return solver, _as_arrays(resumable(controller))


def size_of(motion: Any, y: Float[Array, " size"], t: float, t1: float, args) -> float:
    """The size of a state; of one at rest, that of where it goes until `t1`."""
    size = float(np.linalg.norm(y))
    if not isinstance(motion, Galerkin):
        return size
    times = t + (t1 - t) * np.asarray(LOOKS)
    gone = float(_gone(motion, jnp.asarray(times, y.dtype), y, args))
    return size if size > REST * gone or not np.isfinite(gone) else gone


@once
def _gone(motion: Galerkin, ts: Float[Array, " n"], y: Array, args: Any) -> Array:
    """How far the largest force at some times takes a state from rest until the last."""
    force = lambda t: motion.velocity(t, y, args) - motion.rates(y)
    span = ts[-1] - ts[0]
    damping = jnp.maximum(-motion.rates.values.real, 0)
    far = span / (1 + span * damping)
    gone = lambda t: jnp.linalg.norm(far * jnp.abs(motion.rates.modes(force(t))))
    return jnp.max(jax.lax.map(gone, ts))


def step_for(level: float | None) -> float:
    """The tolerance of a step in time, relative to the size of the solution."""
    least = float(jnp.finfo(jnp.result_type(float)).eps ** CUT)
    if level is None:
        return least
    return max(1e-2 * level, 0.3 * min(level, 3 * least))


def finer(controller: Any) -> Any:
    """A controller of smaller steps; constant ones are halved by their `dt0`.

    One that sobng does not know stays as it is.
    """
    inner = getattr(controller, "controller", None)
    if isinstance(inner, dfx.AbstractStepSizeController):
        return eqx.tree_at(lambda c: c.controller, controller, finer(inner))
    if isinstance(controller, dfx.StepTo):
        ts = np.asarray(controller.ts, float)
        halves = np.sort(np.concatenate([ts, (ts[1:] + ts[:-1]) / 2]))
        return dfx.StepTo(ts=jnp.asarray(halves))
    if not _has_tolerances(controller):
        return controller
    return eqx.tree_at(
        lambda c: (c.rtol, c.atol),
        controller,
        (FINER * controller.rtol, FINER * controller.atol),
    )


def _has_tolerances(controller: Any) -> bool:
    return hasattr(controller, "rtol") and hasattr(controller, "atol")


def _as_arrays(controller: Any) -> Any:
    """The same with arrays for tolerances: other numbers would be compiled anew."""
    inner = getattr(controller, "controller", None)
    if isinstance(inner, dfx.AbstractStepSizeController):
        return eqx.tree_at(lambda c: c.controller, controller, _as_arrays(inner))
    if not _has_tolerances(controller):
        return controller
    both = tuple(jnp.asarray(t) for t in (controller.rtol, controller.atol))
    return eqx.tree_at(lambda c: (c.rtol, c.atol), controller, both)
