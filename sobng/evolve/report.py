"""From the runs of an evolution to its solution, with what is known about it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sobng.clock import Clock
from sobng.evolve.attempt import Attempt
from sobng.evolve.conserving import drift
from sobng.evolve.correcting import mismatches
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.horizon import Horizon, last_time
from sobng.evolve.ladder import Ladder
from sobng.evolve.path import Route
from sobng.evolve.solution import Evolved
from sobng.results import RESULTS


UNCOMPARED = "No two runs on frozen features came to the end, to compare with."

SINGULAR = "The solution blows up; `errors` are those at the times before."

HALFWAY = (
    "No other run to compare with came to the end; `errors` are those at the times that "
    "one reached."
)

UNFOLLOWED = (
    "The features miss a tenth or more of the right-hand side, so that two runs that agree "
    "may both be wrong. Where walls meet, smooth functions may not obey the conditions of "
    "both."
)

LOST = 0.1
"""What may be missed at the end for a comparison to tell the error: of the right-hand side,
and of the field in the time of the run."""

ENDS = ("successful", "settled", "stagnated", "drifted")
"""How runs end that no limit, event or singularity ended."""


def evolved(
    best: Attempt,
    ladder: Ladder | None,
    result: Any,
    *,
    horizon: Horizon,
    clock: Clock,
    evolution: Any,
    args: Any,
    unfitted: str,
    refits: tuple[int, int],
) -> Evolved:
    """The solution of the best run.

    Its estimated error is that at the last time. Where this passes the tolerance the
    solution ends at the time when it did: there is no silent drift.

    **Arguments:**

    - `unfitted`: why the field was not moved, if it was not.
    - `refits`: how often another field was taken, and how often one was tried.
    """
    errors = errors_of(best, ladder, horizon)
    best = horizon.renewed(best)
    num = len(best.values)
    times, found = horizon.times[:num], np.full(num, np.nan)
    if errors is not None:
        found[: len(errors)] = errors[:num]
    blew_up = bool(result == RESULTS.blew_up)
    if bool(best.result != RESULTS.successful) and not blew_up:
        result = best.result
    elif horizon.short and not blew_up:
        result = horizon.result
    route, stop, tolerance = best.route, None, horizon.tolerance
    if tolerance is not None and _is_one_of(result, ENDS):
        stop = last_time(times, found, tolerance)
    if stop is not None and tolerance is not None:
        route, result = route.until(stop), RESULTS.drifted
        before = times < stop
        times = np.append(times[before], stop)
        found = np.append(found[before], tolerance)
    lost = False
    if ladder is not None and errors is not None and not blew_up:
        lost = is_lost(ladder.whole[-1].looks[-1], horizon.t1 - horizon.t0)
    if lost:
        found = np.full(len(found), np.nan)
        if _is_one_of(result, (*ENDS, "tolerance_reached")):
            result = RESULTS.unresolved
    known = bool(len(found)) and bool(np.isfinite(found[-1]))
    reason = unfitted
    if not unfitted and errors is None:
        reason = UNCOMPARED
    elif not unfitted and bool(result == RESULTS.blew_up):
        reason = SINGULAR
    elif not unfitted and lost:
        reason = UNFOLLOWED
    elif not unfitted and not known:
        reason = HALFWAY
    missed, asked, size = best.looks[: len(route.ts)].T
    defect = missed / np.maximum(asked, np.finfo(float).tiny)
    return Evolved(
        route,
        args,
        result=result,
        ts=times,
        errors=found,
        error=float(found[-1]) if known and not reason else None,
        error_reason=reason,
        stats=_facts(best, route, ladder, clock)
        | {"held_out": float(defect[-1]), "refits": refits},
        history={
            "time": route.ts,
            "defect": defect,
            "speed": asked,
            "size": size,
        },
        evolution=evolution,
        event_mask=best.trips[-1].event_mask,
    )


def errors_of(
    best: Attempt, ladder: Ladder | None, horizon: Horizon
) -> np.ndarray | None:
    """The error of a run by comparison with independent ones, by time."""
    found = None if ladder is None else ladder.errors()
    if ladder is not None and found is None:
        found = ladder.errors_of_one()
    if ladder is None or found is None:
        return None
    other = ladder.whole[-1]
    if best is other:
        return found
    change = horizon.renewed(best).difference(other)
    return change[: len(found)] + found[: len(change)]


def is_lost(look: np.ndarray, span: float) -> bool:
    """Whether features do not follow the right-hand side at the end, and that matters.

    **Arguments:**

    - `look`: root mean squares, as in `defect`.
    - `span`: the time of the run.
    """
    missed, asked, size = look
    return bool(missed > LOST * asked and span * missed > LOST * size)


def _is_one_of(result: Any, names: tuple[str, ...]) -> bool:
    return any(bool(result == getattr(RESULTS, name)) for name in names)


def _facts(best: Attempt, route: Route, ladder: Ladder | None, clock: Clock) -> dict:
    misses, corrections = mismatches([trip.path for trip in best.trips])
    motion, end = route.legs[-1].motion, best.trips[len(route.legs) - 1].path.end
    frozen = isinstance(motion, Galerkin)
    attempts = [] if ladder is None else ladder.attempts
    return {
        "num_steps": best.steps,
        "num_rejected": sum(trip.rejected for trip in best.trips),
        "seconds": clock.seconds,
        "compile_seconds": clock.compile_seconds,
        "compilations": clock.compilations,
        "motion": "frozen features" if frozen else "all parameters",
        "params": len(motion.coefficients) if frozen else end.size,
        "rank": end.size,
        "rows": len(motion.table.points) if frozen else len(motion.points),
        "loss": None,
        "initial_miss": best.miss,
        "corrections": corrections,
        "mismatch": tuple(np.max(misses, axis=0).tolist()) if len(misses) else (),
        "drift": drift([trip.path for trip in best.trips]),
        "device": str(next(iter(jax.devices())).device_kind),
        "dtype": jnp.dtype(end.dtype).name,
        "attempts": tuple(
            {
                "rank": tuple(t.path.start.size for t in a.trips),
                "reached": a.route.end,
                "num_steps": a.steps,
                "seconds": round(a.seconds, 3),
            }
            for a in attempts
        ),
    }
