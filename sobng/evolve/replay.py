"""Derivatives of a run: its accepted steps, taken again with traced arguments."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.evolve.exponential import ExponentialGauss
from sobng.evolve.fitted import FittedRungeKutta
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.integrate import integrate, TERMS
from sobng.evolve.motion import check_walls, default_solver, start
from sobng.evolve.moving import Moving
from sobng.evolve.path import Leg, Path, Route
from sobng.evolve.resuming import resumable
from sobng.evolve.run import Run
from sobng.evolve.solution import Evolved


DERIVATIVE_STEP = 1e-10
"""The tolerance of a step, relative to the size of the solution."""


def differentiable(found: Evolved, run: Run, args: Any) -> Evolved:
    """The same solution with its derivative in `args`.

    **Arguments:**

    - `run`: what led to it, with the values of `args`.

    **Raises:** `ValueError` if frozen features know nothing of what `args` change, or a
    field was fitted again, on the way or in each step.
    """
    # The last features follow the whole run; those before were only cheaper.
    leg, whole = found.route.legs[-1], len(found.route.legs) == 1
    if isinstance(leg.motion, Moving) and not whole:
        raise ValueError(
            "The field was fitted again during the run, which has no derivative. Take a "
            "larger field, or a larger `tolerance`."
        )
    motion, solver, path = leg.motion, run.steps.solver, leg.path
    if isinstance(motion, Galerkin):
        check_walls(motion.evolution, motion.unknown, found.t0, run.args)
    fits = isinstance(solver, FittedRungeKutta)
    if fits and isinstance(motion, Moving):
        raise ValueError(
            "The fits of `FittedRungeKutta` have no derivative in `args` yet. Name the "
            f"method itself as `solver`, `diffrax.{type(solver.solver).__name__}()` if it "
            "is explicit, or take `sobng.motion`."
        )
    if solver is None or fits:  # as the run had it: features are linear
        solver = default_solver(motion)
    if not whole or (isinstance(solver, ExponentialGauss) and len(path.ts) > 1):
        path = _finer(motion, solver, run, found)
    path = replayed(motion, solver, path, start(motion, found.t0, args), args)
    found = eqx.tree_at(
        lambda e: (e.route, e.args),
        found,
        (Route((Leg(motion, path),), found.route.stop), args),
        is_leaf=lambda e: e is None,
    )
    return eqx.tree_at(lambda e: e.field, found, found.at(found.t1))


def _finer(motion: Any, solver: Any, run: Run, found: Evolved) -> Path:
    """A path on one motion, in steps that resolve derivatives as well."""
    controller = resumable(run.steps.controller)
    y0, _ = motion.start(jnp.asarray(found.t0), run.args)
    if controller is None:
        scale = jnp.linalg.norm(y0) / y0.size**0.5
        controller = dfx.PIDController(rtol=0.0, atol=DERIVATIVE_STEP * scale)
    trip = integrate(
        motion, solver, controller, found.t0, found.t1, y0, run.args, dt0=run.steps.dt0
    )
    return trip.path


def replayed(
    motion: Any, solver: Any, path: Path, y0: Float[Array, " size"], args: Any
) -> Path:
    """The path of the same steps from another start, with other `args`."""
    if len(path.ts) == 1:
        return Path(path.ts, None, y0, path.piece)
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        # Its loop over the stages has no forward derivative otherwise.
        solver = eqx.tree_at(
            lambda s: s.scan_kind, solver, "bounded", is_leaf=lambda s: s is None
        )
    infos = _steps(motion, solver, jnp.asarray(path.ts, y0.dtype), y0, args)
    return Path(path.ts, infos, y0, path.piece)


@eqx.filter_jit
def _steps(motion, solver, ts, y0, args):
    @jax.checkpoint  # the memory of a state for each step, whatever a step takes
    def step(carry, times):
        y, state = carry
        before, after = times
        now = motion
        if hasattr(motion, "renewed"):
            still = jax.lax.stop_gradient((y, args))
            now = motion.renewed(before, *still)
        y, _, info, state, _ = solver.step(
            TERMS, before, after, y, (now, args), state, made_jump=False
        )
        return (y, state), info

    state = solver.init(TERMS, ts[0], ts[1], y0, (motion, args))
    _, infos = jax.lax.scan(step, (y0, state), (ts[:-1], ts[1:]))
    return infos
