"""The second driver: from an evolution and a field to a solution in time."""

from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from sobng.clock import Clock
from sobng.evaluation import observed
from sobng.evolve.attempt import Attempt
from sobng.evolve.checks import check_evolution, check_times, check_tolerance
from sobng.evolve.features import feature_unknown
from sobng.evolve.galerkin import setting
from sobng.evolve.ladder import attempt_on, default_solver, Ladder
from sobng.evolve.solution import Evolved
from sobng.problem import Evolution
from sobng.records import Record
from sobng.results import RESULTS
from sobng.settings import Settings
from sobng.threads import lapack_threads


SAVED = 17
"""Times at which the error is estimated if none are asked for."""

COMPARED = 512
"""Fresh points at which two runs are compared."""

STEP = 1e-12
"""The least tolerance of a step in time, relative to the size of the solution."""


def evolve(
    evolution: Evolution,
    field: PyTree | None = None,
    t0: float = 0.0,
    t1: float = 1.0,
    *,
    solver: Any = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    saveat: Any = None,
    event: Any = None,
    key: Any,
    args: Any = None,
    max_steps: int = 100_000,
    time_limit: float | None = None,
    tolerance: float | None = None,
    observe: Any = None,
    callbacks: Sequence[Callable] = (),
    progress: Callable | None = None,
    throw: bool = False,
) -> Evolved:
    """Solves an evolution by stepping a field in time with Diffrax.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        circle = sn.Interval(-1.0, 1.0)


        def burgers(u, t, x, args):
            return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


        evolution = sn.Evolution(
            burgers,
            lambda x: -jnp.sin(jnp.pi * x[0]),
            circle,
            boundary=[sn.Periodic(circle, 0)],
        )
        solution = sn.evolve(evolution, t0=0.0, t1=1.0, key=jax.random.key(0))
        solution(1.0, jnp.array([0.3])), solution.error
        ```
    """
    settings = Settings.checked(
        max_steps=max_steps,
        time_limit=time_limit,
        tolerance=tolerance,
        callbacks=callbacks,
        progress=progress,
        checkpoint=None,
        observe=observe,
    )
    t0, t1 = check_times(t0, t1)
    if not isinstance(key, jax.Array):
        raise ValueError(
            f"`key` is a JAX random key, `jax.random.key(0)`. Got {key!r}."
        )
    args = getattr(evolution, "args", None) if args is None else args
    check_evolution(evolution, t0, args)
    check_tolerance(tolerance, jnp.result_type(float))
    times = _times(saveat, t0, t1)
    run = _Run(
        evolution,
        t0,
        t1,
        args,
        settings,
        times,
        key,
        solver=solver,
        controller=stepsize_controller,
        dt0=dt0,
        event=event,
    )
    with lapack_threads(1):
        return run.features()


def _times(saveat: Any, t0: float, t1: float) -> np.ndarray:
    """The saved times; a few between the ends if none are named."""
    named = (
        []
        if saveat is None
        else [
            s.ts
            for s in jax.tree.leaves(
                saveat.subs, is_leaf=lambda s: isinstance(s, dfx.SubSaveAt)
            )
            if s.ts is not None
        ]
    )
    if not named:
        return np.linspace(t0, t1, SAVED)
    times = np.unique(np.concatenate([np.asarray(ts, float) for ts in named]))
    if times[0] < t0 or times[-1] > t1:
        raise ValueError(
            f"`saveat` asks for times outside of the run, from t0={t0:g} to t1={t1:g}. "
            f"Got {times[0]:g} to {times[-1]:g}."
        )
    return times if times[-1] == t1 else np.append(times, t1)


class _Run:
    """What does not change while one evolution is solved."""

    def __init__(
        self,
        evolution,
        t0,
        t1,
        args,
        settings,
        times,
        key,
        *,
        solver,
        controller,
        dt0,
        event,
    ):
        self.evolution = evolution
        self.t0, self.t1, self.args = t0, t1, args
        self.settings = settings
        self.times = times
        self.solver, self.controller, self.dt0 = solver, controller, dt0
        self.event = event
        self.key, point_key = jr.split(key)
        points, _ = evolution.domain.interior.sample(COMPARED, point_key)
        self.points = jnp.asarray(points)
        self.observe = observed(settings.observe)
        self.clock = Clock()
        self.stage = ""
        self.steps = 0

    def features(self) -> Evolved:
        """Frozen features of sobng's own choice, ever more of them."""
        self.clock.start()
        try:
            small = feature_unknown(
                self.evolution, 2.0, 12, self.t0, self.args, self.key
            )
            made = setting(self.evolution, small, self.t0, self.t1, self.args, self.key)
            assert made is not None
            ladder = Ladder(
                made,
                lambda motion, number, last: self.attempt(made, motion, number, last),
                self.key,
                goal=self.settings.tolerance or 1e-12,
                seconds_left=self.seconds_left,
            )
            ladder.climb()
        finally:
            self.clock.stop()
        return self.finished(ladder)

    def attempt(self, made, motion, number: int, last: bool) -> Attempt:
        """One rung: the same steps as a user's solver, or the exponential ones."""
        params = motion.coefficients.shape[0]
        size = motion.coefficients.shape[1]
        self.stage = f"{size} functions"
        goal = self.settings.tolerance
        # Every other rung steps finer, so that their difference shows the steps too.
        step = max(STEP if goal is None else min(1e-2 * goal, 1e-6), STEP) / (
            1 + 2 * (number % 2)
        )
        y0, _ = motion.start(jnp.asarray(self.t0), self.args)
        scale = float(jnp.linalg.norm(y0)) / size**0.5
        controller = self.controller
        if controller is None:
            controller = dfx.PIDController(rtol=0.0, atol=step * scale)
        solver = default_solver(motion, step) if self.solver is None else self.solver
        limit = None if last else 0.1
        return attempt_on(
            motion,
            solver,
            controller,
            made,
            dt0=self.dt0,
            event=self.event,
            look=lambda **seen: self.look(limit, **seen),
            times=self.times,
            points=self.points,
            observe=self.observe,
            max_steps=self.settings.max_steps,
            seconds=lambda: self.clock.seconds,
            facts={"params": params, "rank": size, "rows": len(motion.table.points)},
        )

    def look(self, limit, *, time, defect, steps):
        """Tells listeners; says why a run has to stop, if it has."""
        record = Record(
            stage=f"t={time:.3g}, {self.stage}",
            step=steps,
            loss=float("nan"),
            held_out=defect,
            error=None,
            seconds=self.clock.seconds,
            seconds_left=self.seconds_left() if self.settings.time_limit else None,
            damping=float("nan"),
            accepted=True,
        )
        for callback in self.settings.callbacks:
            callback(record)
        if self.seconds_left() <= 0:
            return RESULTS.time_limit_reached
        if not np.isfinite(defect):
            return RESULTS.blew_up
        if limit is not None and defect > limit:
            return RESULTS.unresolved
        return None

    def seconds_left(self) -> float:
        limit = self.settings.time_limit
        return np.inf if limit is None else limit - self.clock.seconds

    def finished(self, ladder: Ladder) -> Evolved:
        """The last run that came to the end, or as far as one came."""
        done = [a for a in ladder.attempts if a.facts["complete"]]
        errors = ladder.errors()
        best = done[-1] if done else max(ladder.attempts, key=lambda a: a.trip.reached)
        found = np.full(len(self.times), np.nan)
        reason = ""
        if errors is None:
            reason = "No second run came to the end, to compare with."
        else:
            found[: len(errors)] = errors
        trip = best.trip
        result = ladder.result
        if not done:
            result = trip.result
        elif bool(trip.result != RESULTS.successful):
            result = trip.result
        ts = self.times[: len(best.values)]
        device = next(iter(jax.devices()))
        stats = {
            "num_steps": trip.steps,
            "num_rejected": trip.rejected,
            "seconds": self.clock.seconds,
            "compile_seconds": self.clock.compile_seconds,
            "compilations": self.clock.compilations,
            "params": best.facts["params"],
            "rank": best.facts["rank"],
            "rows": best.facts["rows"],
            "loss": None,
            "held_out": float(trip.defects[-1]),
            "initial_miss": best.miss,
            "device": str(device.device_kind),
            "dtype": jnp.dtype(self.points.dtype).name,
            "motion": "frozen features",
            "attempts": tuple(
                (a.facts["rank"], a.trip.reached, a.trip.steps, round(a.seconds, 3))
                for a in ladder.attempts
            ),
        }
        error = float(found[len(ts) - 1]) if errors is not None else None
        return Evolved(
            best.motion,
            trip.path,
            self.args,
            result=result,
            ts=ts,
            errors=found[: len(ts)],
            error=error,
            error_reason=reason,
            stats=stats,
            history={
                "time": trip.path.ts,
                "defect": trip.defects,
                "speed": trip.asked,
            },
            evolution=self.evolution,
            event_mask=trip.event_mask,
        )
