"""What the statement of an evolution gets wrong, in one sentence."""

import math
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sobng.loop import reachable
from sobng.metrics.sobolev import Jet, SobolevMetric
from sobng.problem import Dirichlet, Evolution, Periodic
from sobng.problem.evolution import value_in_time
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
    if not bool(jnp.all(jnp.isfinite(values))):
        raise ValueError(
            "The initial values are not finite everywhere inside. Check `initial`."
        )
    scale = 1 + float(jnp.max(jnp.abs(values)))
    for condition in evolution.boundary:
        if isinstance(condition, Dirichlet):
            _check_start(evolution, condition, t0, args, scale)
        if isinstance(condition, Periodic):
            _check_period(evolution, condition, args, scale)


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


def check_tolerance(tolerance: float | None, dtype: Any) -> None:
    """Raises `ValueError` for a tolerance that the precision cannot reach."""
    least = reachable(dtype)
    if tolerance is not None and tolerance < least:
        raise ValueError(
            f"A tolerance of {tolerance:.1e} cannot be reached in "
            f"{jnp.dtype(dtype).name}, whose least is {least:.1e}. Call "
            "`sobng.enable_x64()` first, or ask for less."
        )
