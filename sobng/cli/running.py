"""Solving cases: alone, or beside the rivals."""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sobng.cli.output import FIELDS, number, say_missing, show_table, Unusable
from sobng.collocation import discretise
from sobng.evaluation import float_dtype, relative_errors
from sobng.evolve.evolve import evolve
from sobng.fields.mlp import MLP
from sobng.geometry import SpaceTime
from sobng.problem import Case, Evolution
from sobng.records import TextProgress
from sobng.results import RESULTS
from sobng.solution import Solution
from sobng.solve import solve
from sobng.stages.strategy import strategy


try:
    import resource
except ImportError:  # no such thing on Windows
    resource = None


RIVAL_RATE = 1e-3
"""The learning rate of Adam in a comparison: its own default, and a good one here."""

COMPARE_WIDTH = 200
"""Enough for the first stage to solve with, and not too many to move all together."""

COMPARE_SECONDS = 20.0
"""How long each run of a comparison may take if nothing is said."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One solve of a case, and how good it is."""

    label: str
    solution: Solution
    rel_l2: float | None
    rel_h1: float | None
    quantities: dict[str, tuple[float, float]]
    """The value and the relative error of each quantity of the case."""
    absolute: frozenset[str] = frozenset()
    """Those whose exact value is zero, and whose error is absolute."""
    ended: bool = True
    """Whether an evolution came to its last time, or to an event of the user."""

    def record(self, name: str, seed: int) -> dict[str, Any]:
        """The fields of the JSON line."""
        stats = self.solution.stats
        record = {
            "name": name,
            "seed": seed,
            "rel_l2": self.rel_l2,
            "rel_h1": self.rel_h1,
            "loss": stats.get("loss"),
            "steps": stats.get("num_steps"),
            "seconds": stats.get("seconds"),
            "compile_seconds": stats.get("compile_seconds"),
            "result": self.solution.message,
            "error_estimate": self.solution.error,
            "params": stats.get("params"),
            "rows": stats.get("rows"),
            "device": stats.get("device"),
            "dtype": stats.get("dtype"),
            "peak_memory_bytes": peak_memory(),
        }
        assert tuple(record) == FIELDS
        for label, (value, error) in self.quantities.items():
            record |= {label: value, f"{label}_error": error}
        return {key: number(value) for key, value in record.items()}


def peak_memory() -> int | None:
    """The most bytes of host memory that this process has held; `None` if unknown."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_case(
    label: str, case: Case, field: Any, key: jax.Array, quiet: bool, **options: Any
) -> Run:
    """Solves a case, with a progress line, and compares with its reference."""
    if isinstance(case.problem, Evolution):
        return _evolve_case(label, case, field, key, quiet, **options)
    progress = None if quiet else TextProgress()
    keywords = {"observe": case.observe, "solver": case.solver, **case.options}
    keywords = {k: v for k, v in (keywords | options).items() if v is not None}
    try:
        solution = solve(case.problem, field, key=key, progress=progress, **keywords)
    except ValueError as error:
        raise Unusable(str(error)) from error
    finally:
        if progress is not None:
            progress.close()
    errors = _errors(lambda: errors_of(case, solution), case.reference is not None)
    return Run(label, solution, *errors, *_quantities(case, solution))


def _errors(
    judge: Callable[[], tuple[float, float | None]], known: bool
) -> tuple[float | None, float | None]:
    """The errors against a reference, where one is known and can be compared with."""
    try:
        return judge() if known else (None, None)
    # A reference is anybody's code, and the solution shall outlive it.
    except Exception as error:
        say_missing("error", error)
        return None, None


def errors_of(case: Case, solution: Any) -> tuple[float, float | None]:
    """Over all of the domain, or at the last time where a reference is known at few."""
    domain = case.problem.domain
    reference: Any = case.reference
    found = relative_errors(solution, reference, domain, observe=case.observe)
    field = solution.field
    if (
        np.isfinite(found[0])
        or not isinstance(domain, SpaceTime)
        or not callable(field)
    ):
        return found
    end = jnp.asarray(domain.time.upper, float_dtype(field))
    last = lambda function: lambda x: function(jnp.concatenate([end, x]))
    return relative_errors(
        last(field), last(reference), domain.space, observe=case.observe
    )


def _quantities(
    case: Case, solution: Solution
) -> tuple[dict[str, tuple[float, float]], frozenset[str]]:
    """Values and errors, and the names of those whose errors are absolute."""
    found = {}
    for label, (function, exact) in case.quantities.items():
        try:
            value, wanted = float(function(solution)), float(exact)
        except Exception as error:  # anybody's code, as above
            say_missing(label, error)
            value, wanted = math.nan, math.nan
        found[label] = value, abs(value - wanted) / (abs(wanted) or 1.0)
    absolute = [label for label, (_, exact) in case.quantities.items() if exact == 0]
    return found, frozenset(absolute)


def _evolve_case(
    label: str, case: Case, field: Any, key: jax.Array, quiet: bool, **options: Any
) -> Run:
    """The same for an evolution; errors are those at the last time."""
    progress = None if quiet else TextProgress()
    keywords = {"solver": case.solver, "observe": case.observe, **case.options}
    keywords = {k: v for k, v in (keywords | options).items() if v is not None}
    try:
        found = evolve(case.problem, field, key=key, progress=progress, **keywords)
    except ValueError as error:
        raise Unusable(str(error)) from error
    finally:
        if progress is not None:
            progress.close()
    end = found.t1
    whole = end >= case.options.get("t1", 1.0) * (1 - 1e-9)
    reference: Any = case.reference

    def judge():
        return relative_errors(
            found.field,
            lambda x: reference(end, x),
            case.problem.domain,
            observe=case.observe,
        )

    errors = _errors(judge, reference is not None and whole)
    last = found.snapshot()
    ended = whole or bool(found.result == RESULTS.event_occurred)
    return Run(label, last, *errors, *_quantities(case, last), ended)


def make_field(case: Case, key: jax.Array) -> Any:
    try:
        return None if case.field is None else case.field(key)
    except ValueError as error:
        raise Unusable(str(error)) from error


def compare(
    case: Case, key: jax.Array, field_key: jax.Array, quiet: bool, **limits: Any
) -> list[Run]:
    """The default stages, the natural gradient alone and Adam, each from the same
    network on the same points.

    A file that leaves the field to sobng gets a network of `COMPARE_WIDTH` neurons.
    Adam runs as many seconds as the longer of the other two.
    """
    import optax

    if isinstance(case.problem, Evolution):
        raise Unusable(
            "`--compare` is for problems without time. Use `--option route=space-time` "
            "where the file has it."
        )
    field = make_field(case, field_key)
    if field is None:
        dim, out = case.problem.dim, case.problem.out
        field = MLP(dim, out=out, width=COMPARE_WIDTH, depth=1, key=field_key)
    points = case.options.get("collocation")
    if points is None:
        points = discretise(case.problem, key=key)
    limits["time_limit"] = limits.get("time_limit") or COMPARE_SECONDS
    shared = {"field": field, "key": key, "quiet": quiet, "collocation": points}
    alone = strategy("all-parameters")
    default = run_case("sobng", case, **shared, **limits)
    strategies = {"stages": alone, "solver": None}
    natural = run_case("natural gradient", case, **shared, **limits, **strategies)
    limits["time_limit"] = max(
        run.solution.stats["seconds"] for run in (default, natural)
    )
    limits["max_steps"] = 10**9
    adam = optax.adam(RIVAL_RATE)
    rival = run_case("Adam", case, **shared, **limits, stages=None, solver=adam)
    return [default, natural, rival]


def reached(case: Case, run: Run) -> bool:
    """Whether a run was as accurate as its case asks for, and came to its end."""
    if not run.ended:
        return False
    if case.reference is not None and case.accuracy is not None:
        return run.rel_l2 is not None and run.rel_l2 <= case.accuracy
    if run.quantities and case.accuracy is not None:
        return all(error <= case.accuracy for _, error in run.quantities.values())
    goal = case.options.get("tolerance") or case.accuracy
    if goal is None and isinstance(case.problem, Evolution):
        return True  # it has no loss, and came to its last time
    if goal is None:
        return number(run.solution.stats["loss"]) is not None
    return run.solution.error is not None and run.solution.error <= goal


def describe(runs: Sequence[Run]) -> str:
    """The closing table, and below it why each run stopped."""

    def cell(value: Any, form: str) -> str:
        value = number(value)
        return "-" if value is None else format(value, form)

    rows = [["", "rel L2", "rel H1", "estimate", "steps", "seconds", "compiling"]]
    for run in runs:
        stats = run.solution.stats
        rows.append(
            [
                run.label,
                cell(run.rel_l2, ".1e"),
                cell(run.rel_h1, ".1e"),
                cell(run.solution.error, ".1e"),
                cell(stats["num_steps"], "d"),
                cell(stats["seconds"], ".1f"),
                cell(stats["compile_seconds"], ".1f"),
            ]
        )
    reasons = [f"{run.label}: {run.solution.message}" for run in runs]
    lines = []
    for run in runs:
        for label, (value, error) in run.quantities.items():
            kind = "absolute" if label in run.absolute else "relative"
            lines.append(f"{run.label}: {label} {value:.14g}, {kind} error {error:.1e}")
    return "\n".join([show_table(rows, "<>>>>>>"), "", *lines, *reasons])
