"""The host loop in time: Diffrax, a few dozen steps at a time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.evolve.path import joined, Path
from sobng.results import RESULTS


SEGMENT = 32
"""Steps between two looks of the host."""


@dataclasses.dataclass
class Trip:
    """What an integration has come to."""

    path: Path
    looks: np.ndarray  # root mean squares at the times of the path, as in `defect`
    steps: int
    rejected: int
    result: Any
    event_mask: Any = None
    step: Any = None  # the size of the next one
    beyond: Any = None  # time, state and look after the step that missed too much

    @property
    def reached(self) -> float:
        """The last time."""
        return float(self.path.ts[-1])


def velocity(t, y, args):
    """The vector field of any motion: `args` is the motion and the user's `args`."""
    motion, given = args
    return motion.velocity(t, y, given)


TERMS = dfx.ODETerm(velocity)


@eqx.filter_jit
def begin(motion, solver, controller, t0, t1, dt0, y0, args):
    """The first step size and the states of controller and solver."""
    both = (motion, args)
    tnext, controller_state = controller.init(
        TERMS, t0, t1, y0, dt0, both, solver.func, solver.error_order(TERMS)
    )
    solver_state = solver.init(TERMS, t0, jnp.minimum(tnext, t1), y0, both)
    return tnext - t0, controller_state, solver_state


@eqx.filter_jit
def segment(motion, solver, controller, t0, t1, dt0, y0, args, states, event) -> Any:
    """At most `SEGMENT` steps; the last state, what was recorded, the new states."""
    solver_state, controller_state = states
    saveat = dfx.SaveAt(
        steps=True, dense=True, solver_state=True, controller_state=True
    )
    return dfx.diffeqsolve(
        TERMS,
        solver,
        t0,
        t1,
        dt0,
        y0,
        (motion, args),
        saveat=saveat,
        stepsize_controller=controller,
        max_steps=SEGMENT,
        throw=False,
        solver_state=solver_state,
        controller_state=controller_state,
        event=event,
    )


@eqx.filter_jit
def defects(motion, ts, ys, args):
    """Mean squares of projection residual, right-hand side and field at several times."""
    return jax.lax.map(lambda both: motion.defect(both[0], both[1], args), (ts, ys))


def integrate(
    motion: Any,
    solver: Any,
    controller: Any,
    t0: float,
    t1: float,
    y0: Float[Array, " size"],
    args: Any,
    *,
    dt0: Any = None,
    event: Any = None,
    look: Callable[..., Any] = lambda **_: None,
    allowed: Callable[[np.ndarray], float] | None = None,
    max_steps: int = 100_000,
) -> Trip:
    """Moves `y0` from `t0` to `t1`.

    **Arguments:**

    - `look`: called after each segment with `time`, `defect` and `steps`; a member of
        `RESULTS` that it returns ends the run.
    - `allowed`: how much of the right-hand side may be missed before the run ends as
        unresolved, without the step in which that happened; from what was seen last.
    """
    kind = y0.dtype
    time, end = jnp.asarray(t0, kind), jnp.asarray(t1, kind)
    dt0 = None if dt0 is None else jnp.asarray(dt0, kind)
    fixed = isinstance(controller, dfx.ConstantStepSize)
    dt, controller_state, solver_state = begin(
        motion, solver, controller, time, end, dt0, y0, args
    )
    states = (solver_state, controller_state)
    state = y0
    ts, infos = [], []
    seen = [np.sqrt(np.asarray(defects(motion, time[None], y0[None], args)))]
    steps = rejected = 0
    result, mask, beyond = RESULTS.successful, None, None
    while True:
        found = segment(
            motion, solver, controller, time, end, dt, state, args, states, event
        )
        accepted = int(found.stats["num_accepted_steps"])
        rejected += int(found.stats["num_rejected_steps"])
        new = np.asarray(found.ts[:accepted])
        looks = np.sqrt(np.asarray(defects(motion, found.ts, found.ys, args)))
        if accepted:
            times = np.asarray([float(time), *new])
            # The last step was cut to its end, the one before it was not.
            dt = dt if fixed else jnp.asarray(np.max(np.diff(times)[-2:]), kind)
        if allowed is not None:
            over = np.flatnonzero(looks[:accepted, 0] > allowed(seen[-1][-1]))
            if over.size:
                accepted = int(over[0])
                beyond = (found.ts[accepted], found.ys[accepted], looks[accepted])
        if accepted:
            steps += accepted
            seen.append(looks[:accepted])
            ts.append(new[:accepted])
            kept = found.interpolation.infos
            infos.append(jax.tree.map(lambda i, n=accepted: np.asarray(i[:n]), kept))
            state, time = found.ys[accepted - 1], found.ts[accepted - 1]
            states = (found.solver_state, found.controller_state)
            if hasattr(motion, "renewed"):
                motion = motion.renewed(time, state, args)
        missed, asked, _ = seen[-1][-1]
        defect = float(missed / max(asked, np.finfo(kind).tiny))
        stop = look(time=float(time), defect=defect, steps=steps)
        if beyond is not None:
            result = RESULTS.unresolved if stop is None else stop
            break
        if bool(found.result == dfx.RESULTS.successful):
            break
        if bool(found.result == dfx.RESULTS.event_occurred):
            result, mask = RESULTS.event_occurred, found.event_mask
            break
        if stop is not None:
            result = stop
            break
        if bool(found.result != dfx.RESULTS.max_steps_reached) or not accepted:
            result = RESULTS.blew_up
            break
        if steps >= max_steps:
            result = RESULTS.nonlinear_max_steps_reached
            break
    path = joined(y0, t0, ts, infos, solver.interpolation_cls)
    looks = np.concatenate(seen)
    return Trip(path, looks, steps, rejected, result, mask, dt, beyond)
