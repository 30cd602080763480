"""The host loop in time: Diffrax, a few dozen steps at a time."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.evolve.blow_up import blows_up, GROWN, HUGE
from sobng.evolve.events import with_own_args
from sobng.evolve.path import joined, Path
from sobng.evolve.resuming import resuming
from sobng.once import lean, once
from sobng.results import RESULTS


SEGMENT = 32
"""Steps between two looks of the host."""


@dataclasses.dataclass
class Progress:
    """The steps of a trip so far, and what the next one needs."""

    time: Any
    dt: Any
    state: Float[Array, " size"]
    states: PyTree  # of the solver and of the controller
    ts: list[np.ndarray]  # one for each segment, as the two below
    infos: list[PyTree]
    seen: list[np.ndarray]
    steps: int = 0
    rejected: int = 0
    result: Any = None  # none while it goes on
    mask: Any = None
    beyond: Any = None
    """As in `Trip`; after an event, where the step that it cut would have ended."""


STUCK = 4
"""Steps that are shorter on average, in units of the rounding of time, go nowhere."""

LOST = 1e-2
"""The part of a right-hand side missed from which on a motion does not follow it."""


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


@once
def begin(motion, solver, controller, t0, t1, dt0, y0, args):
    """The first step size and the states of controller and solver."""
    both = (motion, args)
    tnext, controller_state = controller.init(
        TERMS, t0, t1, y0, dt0, both, solver.func, solver.error_order(TERMS)
    )
    solver_state = solver.init(TERMS, t0, jnp.minimum(tnext, t1), y0, both)
    # Controllers begin with a plain `False` that steps make an array: the second segment
    # would be compiled anew.
    plain = lambda leaf: isinstance(leaf, bool | int | float)
    array = lambda leaf: jnp.asarray(leaf) if plain(leaf) else leaf
    return tnext - t0, jax.tree.map(array, controller_state), solver_state


@lean
def segment(motion, solver, controller, t0, t1, dt, y0, args, states, event) -> Any:
    """At most `SEGMENT` steps; the last state, what was recorded, the new states."""
    solver_state, controller_state = states
    controller, dt0 = resuming(controller, dt, solver, event)
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
        event=with_own_args(event),
    )


@lean
def defects(motion, ts, ys, args):
    """Mean squares of projection residual, right-hand side and field at several times."""
    return jax.lax.map(lambda both: motion.defect(both[0], both[1], args), (ts, ys))


def shapes(motion: Any, solver: Any, controller: Any, y: Array, args: Any, event: Any):
    """What the steps of a trip record and hand on, and the mask of an event."""
    time = jnp.zeros((), y.dtype)
    start = motion, solver, controller, time, time
    dt, controller_state, solver_state = eqx.filter_eval_shape(
        begin, *start, time, y, args
    )
    states = solver_state, controller_state
    found = eqx.filter_eval_shape(segment, *start, dt, y, args, states, event)
    return found.interpolation.infos, states, found.event_mask


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
    so_far: Progress | None = None,
    save: Callable[[Progress], Any] = lambda _: None,
) -> Trip:
    """Moves `y0` from `t0` to `t1`.

    **Arguments:**

    - `look`: called after each segment with `motion`, `time`, `state`, `defect` and
        `steps`; a member of `RESULTS` that it returns ends the run.
    - `allowed`: how much of the right-hand side may be missed before the run ends as
        unresolved, without the step in which that happened; from what was seen last.
    - `so_far`: steps that were taken before, to go on from.
    - `save`: given the steps so far after each segment, and at the end unless only a
        limit ended them.
    """
    kind = y0.dtype
    end = jnp.asarray(t1, kind)
    fixed = isinstance(controller, dfx.ConstantStepSize)
    if so_far is None:
        time = jnp.asarray(t0, kind)
        dt0 = None if dt0 is None else jnp.asarray(dt0, kind)
        dt, controller_state, solver_state = begin(
            motion, solver, controller, time, end, dt0, y0, args
        )
        seen = np.sqrt(np.asarray(defects(motion, time[None], y0[None], args)))
        states = (solver_state, controller_state)
        so_far = Progress(time, dt, y0, states, [], [], [seen])
    now = so_far
    if now.ts and hasattr(motion, "renewed"):
        motion = motion.renewed(now.time, now.state, args)
    limited = False
    while now.result is None:
        try:
            limited = _advance(
                now,
                motion,
                solver,
                controller,
                end,
                args,
                event=event,
                look=look,
                allowed=allowed,
                max_steps=max_steps,
                fixed=fixed,
                start=float(t0),
            )
        except KeyboardInterrupt:
            now.result, limited = RESULTS.interrupted, True
        if now.result is None and hasattr(motion, "renewed"):
            motion = motion.renewed(now.time, now.state, args)
        if not limited:
            save(now)
    beyond, whole = now.beyond, None
    if bool(now.result == RESULTS.event_occurred) and beyond is not None:
        beyond, whole = None, float(beyond[0])
    path = joined(y0, t0, now.ts, now.infos, solver.interpolation_cls, whole)
    looks = np.concatenate(now.seen)
    return Trip(
        path, looks, now.steps, now.rejected, now.result, now.mask, now.dt, beyond
    )


def _advance(
    now: Progress,
    motion: Any,
    solver: Any,
    controller: Any,
    end: Any,
    args: Any,
    *,
    event: Any,
    look: Callable,
    allowed: Callable | None,
    max_steps: int,
    fixed: bool,
    start: float,
) -> bool:
    """One segment; whether a limit ends the trip, and nothing that it has come to."""
    kind = now.state.dtype
    found = segment(
        motion,
        solver,
        controller,
        now.time,
        end,
        now.dt,
        now.state,
        args,
        now.states,
        event,
    )
    accepted = int(found.stats["num_accepted_steps"])
    # Cut on the host: JAX would compile each length by itself.
    ts, ys = np.asarray(found.ts), np.asarray(found.ys)
    new = ts[:accepted]
    looks = np.sqrt(np.asarray(defects(motion, found.ts, found.ys, args)))
    dt, beyond, before = now.dt, None, float(now.time)
    if accepted and not fixed:
        times = np.asarray([before, *new])
        # The last step was cut to its end, the one before it was not.
        dt = jnp.asarray(np.max(np.diff(times)[-2:]), kind)
    if allowed is not None:
        over = np.flatnonzero(looks[:accepted, 0] > allowed(now.seen[-1][-1]))
        if over.size:
            accepted = int(over[0])
            beyond = (*map(jnp.asarray, (ts[accepted], ys[accepted])), looks[accepted])
    full = now.steps + accepted >= max_steps
    if full and now.steps + accepted > max_steps:
        accepted, beyond = max_steps - now.steps, None
    now.dt, now.beyond = dt, beyond
    now.rejected += int(found.stats["num_rejected_steps"])
    if accepted:
        now.steps += accepted
        now.seen.append(looks[:accepted])
        now.ts.append(new[:accepted])
        kept = found.interpolation.infos
        now.infos.append(jax.tree.map(lambda i: np.asarray(i)[:accepted], kept))
        now.state, now.time = (
            jnp.asarray(ys[accepted - 1]),
            jnp.asarray(ts[accepted - 1]),
        )
        now.states = (found.solver_state, found.controller_state)
    missed, asked, _ = now.seen[-1][-1]
    defect = float(missed / max(asked, np.finfo(kind).tiny))
    stop = look(
        motion=motion,
        state=now.state,
        time=float(now.time),
        defect=defect,
        steps=now.steps,
    )
    limit = stop is not None and bool(stop == RESULTS.time_limit_reached)
    if beyond is not None:
        now.result = RESULTS.unresolved if stop is None else stop
        return limit
    whole = now.steps < max_steps or accepted == len(new)
    if whole and bool(found.result == dfx.RESULTS.successful):
        now.result = RESULTS.successful
    elif whole and bool(found.result == dfx.RESULTS.event_occurred):
        now.result, now.mask = RESULTS.event_occurred, found.event_mask
        now.beyond = (found.interpolation.ts[accepted],)
    elif stop is not None:
        now.result = stop
        return limit
    elif full:
        now.result = RESULTS.nonlinear_max_steps_reached
        return True
    else:
        rounding = STUCK * accepted * np.finfo(kind).eps * abs(float(now.time))
        stuck = float(now.time) - before <= rounding
        size = np.concatenate(now.seen)[:, 2]
        ts = np.concatenate([[start], *now.ts])
        # What is not followed any more is not waited for.
        grew = blows_up(ts, size, float(end), GROWN if defect > LOST else HUGE)
        if stuck or grew or bool(found.result != dfx.RESULTS.max_steps_reached):
            now.result = RESULTS.blew_up
    return False
