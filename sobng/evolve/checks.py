"""What the statement of an evolution gets wrong, in one sentence."""

import math
from typing import Any

import diffrax as dfx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sobng.checks import check_unknown
from sobng.evolve.correcting import stages
from sobng.evolve.fitted import FittedRungeKutta
from sobng.loop import reachable
from sobng.metrics.sobolev import Jet, SobolevMetric
from sobng.problem import Condition, Dirichlet, Evolution, Periodic, Problem
from sobng.problem.evolution import check_real, value_in_time
from sobng.typing import Point


def check_times(t0: Any, t1: Any) -> tuple[float, float]:
    """The interval of time as two numbers."""
    try:
        first, last = float(t0), float(t1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Times are numbers. Got t0={t0!r}, t1={t1!r}.") from error
    if not (math.isfinite(last - first) and first < last):
        raise ValueError(f"Time runs from t0 to a later t1. Got t0={t0}, t1={t1}.")
    return first, last


def is_traced(args: Any) -> bool:
    """Whether a PyTree holds tracers."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))


def check_concrete(args: Any, what: str) -> None:
    """Raises `ValueError` for tracers."""
    if is_traced(args):
        raise ValueError(
            f"{what}. Make `motion = sobng.motion(...)` outside, and call "
            "`diffrax.diffeqsolve(motion.terms, motion.solver, ...)` there."
        )


def check_evolution(evolution: Any, t0: float, args: Any) -> None:
    """Raises `ValueError` if the right-hand side has another shape than the unknown, or
    the initial values are not finite or contradict a boundary condition."""
    if not isinstance(evolution, Evolution):
        raise ValueError(
            f"`evolve` needs an `Evolution`. Got {type(evolution).__name__}. Stationary "
            "problems are for `sobng.solve`."
        )
    dtype = jnp.result_type(float)
    points, _ = evolution.domain.interior.sample(8, jax.random.key(0))
    points = jnp.asarray(points, dtype)
    _check_rhs(evolution, t0, args, points[0])
    values = jax.vmap(lambda x: evolution.initial_value(x, args))(points)
    rates = _rates(evolution, t0, args, points)
    for found, what, where in (
        (values, "The initial values are", "`initial`"),
        (
            rates,
            "`rhs` of the initial values is",
            "its divisions, roots and logarithms",
        ),
    ):
        if not bool(jnp.all(jnp.isfinite(found))):
            raise ValueError(f"{what} not finite everywhere inside. Check {where}.")
    scale = 1 + float(jnp.max(jnp.abs(values)))
    for condition in evolution.boundary:
        if isinstance(condition, Dirichlet):
            _check_start(evolution, condition, t0, args, scale)
        if isinstance(condition, Periodic):
            _check_period(evolution, condition, args, scale)


def _rates(evolution: Evolution, t0: float, args: Any, points: Any) -> Any:
    """The right-hand side of the initial values."""
    initial = lambda x: evolution.initial_value(x, args)
    t = jnp.asarray(t0, points.dtype)
    return jax.vmap(lambda x: jnp.asarray(evolution.rhs(initial, t, x, args)))(points)


def _check_rhs(evolution: Evolution, t0: float, args: Any, x: Point) -> None:
    initial = lambda x: evolution.initial_value(x, args)
    try:
        found = jax.eval_shape(
            lambda x: jnp.asarray(evolution.rhs(initial, jnp.asarray(t0), x, args)), x
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"`rhs(u, t, x, args)` cannot be evaluated at a point of shape {x.shape}: "
            f"{lines[0].rstrip('.')}."
        ) from error
    check_real(found, "`rhs`")
    wanted = () if evolution.out is None else (evolution.out,)
    if found.shape != wanted:
        raise ValueError(
            f"`rhs` returns shape {found.shape} at one point, the initial values have "
            f"shape {wanted}. Return the time derivative of each component."
        )


def _check_start(evolution, condition, t0, args, scale) -> None:
    if condition.exact is False:
        return
    points, _ = condition.region.quadrature(8)
    for x in jnp.asarray(points):
        given = value_in_time(condition.value, jnp.asarray(t0), x, args)
        start = evolution.initial_value(x, args)
        start = (
            start
            if condition.component is None
            else start[np.asarray(condition.component)]
        )
        gap = float(jnp.max(jnp.abs(start - given)))
        if gap > 1e-6 * scale:
            raise ValueError(
                f"The initial values contradict condition '{condition.name}': at "
                f"x = {np.asarray(x).round(6).tolist()} they differ by {gap:.3g}. Make "
                "the data agree, or state the condition with `exact=False`."
            )


def _check_period(evolution, condition, args, scale) -> None:
    points, _ = condition.region.quadrature(8)
    for x in jnp.asarray(points):
        other = x.at[condition.axis].add(condition.length)
        gap = evolution.initial_value(x, args) - evolution.initial_value(other, args)
        if float(jnp.max(jnp.abs(gap))) > 1e-6 * scale:
            raise ValueError(
                f"The initial values do not repeat as condition '{condition.name}' says: "
                f"at x = {np.asarray(x).round(6).tolist()} and one period on they differ by "
                f"{float(jnp.max(jnp.abs(gap))):.3g}."
            )


def check_metric(metric: Any, dim: int) -> Jet:
    """What a metric sees of a function at a point.

    **Raises:** `ValueError` for metrics that are no integrals of derivatives, or that do
    not see all functions.
    """
    if metric is None:
        metric = SobolevMetric(0)
    local = isinstance(metric, SobolevMetric) and metric.norm is None
    if not local or metric.extension or metric.homogeneous:
        raise ValueError(
            "The right-hand side of an evolution is projected in the metric of a Sobolev "
            "space of integer order without boundary terms, `SobolevMetric(order, "
            f"weights=..., scale=...)`, or in L2 by default. Got {metric!r}."
        )
    return metric.jet(dim)


def check_field(evolution: Evolution, field: Any) -> None:
    """Raises `ValueError` unless a field takes a point to values like the initial ones."""
    inside = Condition(
        lambda u, x, args: u(x), evolution.domain.interior, name="inside"
    )
    check_unknown(Problem(inside, out=evolution.out), field)
    if not callable(field):
        raise ValueError(f"An evolution moves one field. Got {type(field).__name__}.")
    point = jax.ShapeDtypeStruct((evolution.dim,), jnp.result_type(float))
    found = jax.eval_shape(field, point).shape
    wanted = () if evolution.out is None else (evolution.out,)
    if found != wanted:
        raise ValueError(
            f"The field returns values of shape {found} at a point, the initial values "
            f"have shape {wanted}. Build it with `out={evolution.out}`."
        )


def check_steps(
    solver: Any, controller: Any, dt0: Any, event: Any, saveat: Any
) -> None:
    """Raises `ValueError` for what is none of Diffrax' objects."""
    stepper = dfx.AbstractStepSizeController
    for name, value, kind, words in (
        ("solver", solver, dfx.AbstractSolver, "solver of Diffrax"),
        ("stepsize_controller", controller, stepper, "controller of Diffrax"),
        ("event", event, dfx.Event, "`diffrax.Event`"),
        ("saveat", saveat, dfx.SaveAt, "`diffrax.SaveAt`"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"`{name}` is a {words}. Got {value!r}.")
    if dt0 is not None and not (np.shape(dt0) == () and float(dt0) > 0):
        raise ValueError(f"`dt0` is a positive number. Got {dt0!r}.")
    if dt0 is not None and isinstance(controller, dfx.StepTo):
        raise ValueError(f"`StepTo` says all steps. Leave dt0={dt0!r} out.")


def check_corrections(corrections: Any, field: Any, solver: Any) -> None:
    """Raises `ValueError` for what is no number of corrections, or of no use here."""
    whole = isinstance(corrections, int) and not isinstance(corrections, bool)
    if not whole or corrections < 0:
        raise ValueError(
            "`corrections` is how often the end of a step is corrected at most, an integer "
            f"from 0. Got {corrections!r}."
        )
    if corrections == 0:
        return
    if field is None:
        raise ValueError(
            "`corrections` are for a field of yours, all of whose parameters move. Got "
            f"corrections={corrections} and no field: the functions of frozen features "
            "are linear in what moves, so that their steps are steps of functions as they "
            "are. Give a field, or leave `corrections` out."
        )
    if isinstance(solver, FittedRungeKutta):
        raise ValueError(
            "`FittedRungeKutta` has corrections of its own, for each stage. Got "
            f"corrections={corrections} as well. Leave it out, or name the method itself "
            f"as `solver`, `diffrax.{type(solver.solver).__name__}()`."
        )
    if solver is not None:
        stages(solver)


def check_derivable(solver: Any, integrands: Any, corrections: int) -> None:
    """Raises `ValueError` for steps that are not taken again for a derivative."""
    without = "has no derivative in `args` yet"
    for name, given in (("conserve", integrands), ("corrections", corrections)):
        if given:
            raise ValueError(
                f"A run with `{name}` {without}. Leave it out, or take `sobng.motion`."
            )
    inner = solver
    while isinstance(inner, dfx.AbstractWrappedSolver):
        inner = inner.solver
    if isinstance(inner, dfx.AbstractImplicitSolver):
        raise ValueError(
            f"A run by the implicit `{type(inner).__name__}` {without}. Take an explicit "
            "solver, the default one for stiff equations, or take `sobng.motion`."
        )


def check_controller(controller: Any, evolution: Evolution, t0: float, t1: float, args):
    """Raises `ValueError` for tolerances of steps that rounding does not let them meet,
    and for times to step to that are not those of the run."""
    if isinstance(controller, dfx.StepTo):
        ts, kind = np.asarray(controller.ts), jnp.result_type(float)
        ends = np.asarray([t0, t1], kind)
        if np.any(np.diff(ts) <= 0) or not np.array_equal(
            ts[[0, -1]].astype(kind), ends
        ):
            raise ValueError(
                f"`StepTo` takes increasing times from t0={t0} to t1={t1}. Got {ts}."
            )
        return
    rtol, atol = (getattr(controller, name, None) for name in ("rtol", "atol"))
    if rtol is None or atol is None or np.shape(rtol) != () or np.shape(atol) != ():
        return
    kind = jnp.result_type(float)
    points, _ = evolution.domain.interior.sample(64, jax.random.key(0))
    points = jnp.asarray(points, kind)
    values = jax.vmap(lambda x: evolution.initial_value(x, args))(points)
    rates = _rates(evolution, t0, args, points)
    # A field that is zero at first is measured by where it goes.
    norm = lambda v: float(jnp.sqrt(jnp.mean(v**2)))
    size = max(norm(values), 1e-3 * (t1 - t0) * norm(rates))
    least = reachable(kind)
    if float(rtol) * size + float(atol) < least * size:
        raise ValueError(
            f"Steps to rtol={float(rtol):.1e}, atol={float(atol):.1e} cannot be taken in "
            f"{jnp.dtype(kind).name}, which rounds a field of size {size:.1e}. Ask for "
            f"rtol={least:.0e} at least, or for atol={least * size:.0e}."
        )


def check_tolerance(tolerance: float | None, dtype: Any) -> None:
    """Raises `ValueError` for a tolerance that the precision cannot reach."""
    least = reachable(dtype)
    if tolerance is not None and tolerance < least:
        raise ValueError(
            f"A tolerance of {tolerance:.1e} cannot be reached in "
            f"{jnp.dtype(dtype).name}, whose least is {least:.1e}. Call "
            "`sobng.enable_x64()` first, or ask for less."
        )
