"""What a statement gets wrong, found before anything is compiled."""

import itertools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.fields.algebra import add, entries, rebuild
from sobng.once import once
from sobng.problem import Dirichlet, Energy, evaluate, Neumann, Problem, Robin
from sobng.problem.condition import check_real, counted, residual_at


SAMPLES = 4
"""Points of each region that data and residuals are tried at."""


def _points(region, dtype):
    points, _ = region.quadrature(16)
    return jnp.asarray(points[:: max(1, len(points) // SAMPLES)][:SAMPLES], dtype)


def check_unknown(problem: Problem | Energy, unknown: PyTree) -> None:
    """Raises `ValueError` unless every field takes a point of the problem's dimension
    to a scalar or a vector."""
    for name, field in entries(unknown).items():
        label = "The field" if name is None else f"The field '{name}'"
        if not callable(field):
            if name is None:
                raise ValueError(
                    "The unknown is a field, a callable module of one point, or a dict "
                    f"of fields and arrays. Got {type(field).__name__}."
                )
            continue
        said = getattr(field, "dim", None)
        if said is not None and said != problem.dim:
            raise ValueError(
                f"{label} takes points of dimension {said}, but the problem's have "
                f"dimension {problem.dim} (time included). Build it with "
                f"`dim={problem.dim}`."
            )
        point = jax.ShapeDtypeStruct((problem.dim,), _dtype(unknown))
        try:
            value = jax.eval_shape(field, point)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"{label} cannot be evaluated at a point of shape ({problem.dim},): "
                f"{_first_line(error)}. A field maps one point to a scalar or a vector."
            ) from error
        if not hasattr(value, "shape") or value.ndim > 1:
            got = getattr(value, "shape", type(value).__name__)
            raise ValueError(
                f"{label} returns values of shape {got} at a point. It should return a "
                "scalar of shape () or a vector of shape (out,)."
            )


def _dtype(unknown: PyTree):
    leaves = [a for a in jax.tree.leaves(unknown) if _is_float(a)]
    return jnp.result_type(*leaves) if leaves else jnp.result_type(float)


def _is_float(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def check_residuals(problem: Problem | Energy, unknown: PyTree, args: Any) -> None:
    """Raises `ValueError` unless every residual is a finite scalar or vector."""
    dtype = _dtype(unknown)

    def shape_of(function, label, expected):
        point = jax.ShapeDtypeStruct((problem.dim,), dtype)
        try:
            value = jax.eval_shape(lambda x: function(unknown, x, args), point)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ValueError(
                f"{label} cannot be evaluated at a point of shape ({problem.dim},): "
                f"{_first_line(error)}."
            ) from error
        if not hasattr(value, "shape") or value.ndim > expected:
            got = getattr(value, "shape", type(value).__name__)
            wanted = "a scalar or a vector" if expected else "a scalar"
            raise ValueError(
                f"{label} returns shape {got} at one point. It should return {wanted}: "
                "write it for one point x of shape (dim,), sobng maps it over points."
            )
        check_real(value, label)

    for condition in problem.conditions:
        if isinstance(condition, Dirichlet | Neumann | Robin):
            _check_datum(condition, unknown, args, dtype)
        shape_of(condition.residual, _label(condition), 1)
    _check_finite(problem, unknown, args, dtype)
    if isinstance(problem, Energy):
        shape_of(problem.density, "The energy density", 0)
        _check_normalised(problem, unknown, dtype)


def _check_normalised(energy: Energy, unknown, dtype) -> None:
    if energy.normalise is None:
        return
    point = jax.ShapeDtypeStruct((energy.dim,), dtype)
    shape = None if isinstance(unknown, dict) else jax.eval_shape(unknown, point).shape
    if shape != ():
        got = "a dict" if shape is None else f"values of shape {shape}"
        raise ValueError(
            f"`normalise` is for an energy of one scalar field. Got {got}. Leave it out, "
            "and add a condition for the norm."
        )


def _label(condition) -> str:
    return f"The residual of condition '{condition.name}'"


def _check_finite(problem, unknown, args, dtype) -> None:
    tried = {c.name: _points(c.region, dtype) for c in problem.conditions}
    data, residuals = jax.device_get(_finite(problem, unknown, args, tried))
    for condition in problem.conditions:
        points = np.asarray(tried[condition.name])
        for x in points[~data[condition.name]]:
            raise ValueError(
                f"The value of condition '{condition.name}' is not finite at "
                f"x = {x.tolist()}. Give finite data on the whole region."
            )
        if not residuals[condition.name]:
            raise ValueError(
                f"{_label(condition)} is not finite at x = {points[0].tolist()}. Check "
                "its data and coefficients there."
            )


@once
def _finite(problem, unknown, args, tried) -> tuple[dict, dict]:
    """Whether data are finite at some points, and residuals at the first of them, by one
    program: operation by operation a residual compiles for several times as long."""

    def finite(value):
        return jnp.all(jnp.isfinite(value))

    data, residuals = {}, {}
    for condition in problem.conditions:
        points = tried[condition.name]
        value = condition.value if isinstance(condition, Dirichlet) else 0.0
        data[condition.name] = jax.vmap(
            lambda x, value=value: finite(evaluate(value, x, args))
        )(points)
        found = residual_at(condition, unknown, points[0], args)
        residuals[condition.name] = finite(found)
    return data, residuals


def _check_datum(condition: Dirichlet | Neumann | Robin, unknown, args, dtype) -> None:
    field = entries(unknown).get(condition.of)
    if field is None or not callable(field):
        raise ValueError(
            f"Condition '{condition.name}' speaks of entry {condition.of!r} of the "
            f"unknown, which has {sorted(map(str, entries(unknown)))}. Name a field with "
            "`of=`."
        )
    point = jax.ShapeDtypeStruct((condition.region.dim,), dtype)
    shape = jax.eval_shape(field, point).shape
    counted(condition.component, shape[0] if shape else None, condition.name)
    if isinstance(condition.component, tuple):
        shape = (len(condition.component),)
    elif condition.component is not None:
        shape = ()
    given = jax.eval_shape(lambda x: evaluate(condition.value, x, args), point).shape
    if given not in ((), shape):
        raise ValueError(
            f"The value of condition '{condition.name}' has shape {given} at a "
            f"point, the field there {shape}. Give one value for each component."
        )


def check_determined(problem: Problem | Energy, unknown: PyTree, args: Any) -> None:
    """Raises `ValueError` if adding a constant to a component changes no residual.

    A pure Neumann problem, or an incompressible flow without a pressure level, has no
    unique solution.
    """
    if isinstance(problem, Energy):
        return
    dtype = _dtype(unknown)
    for name, field in entries(unknown).items():
        if not callable(field):
            continue
        shape = jax.eval_shape(field, jax.ShapeDtypeStruct((problem.dim,), dtype)).shape
        known = _fixed(problem, field, name, shape[0] if shape else None)
        if np.all(known):
            continue
        tried = {c.name: _points(c.region, dtype)[:2] for c in problem.conditions}
        seen = np.asarray(_sees_constant(problem, unknown, args, tried, name)) | known
        if not np.all(seen):
            which = "" if name is None else f" of '{name}'"
            part = f" in component {np.argmin(seen)}" if shape else ""
            raise ValueError(
                f"The solution is determined only up to a constant{part}{which}: no "
                "condition changes when a constant is added. Add a condition that "
                "fixes its level, for instance a value on a boundary part."
            )


def _fixed(problem, field, name, out) -> np.ndarray:
    """For each component of a field, whether a condition that it obeys exactly tells its
    level; of a condition that is not known it is assumed."""
    names = set(getattr(field, "satisfies", ()))
    data = [c for c in problem.conditions if isinstance(c, Dirichlet) and c.of == name]
    own = [counted(c.component, out, c.name) for c in data if c.name in names]
    if out is None or len(own) < len(names) or None in own:
        return np.full(1 if out is None else out, bool(names))
    chosen = set().union(*map(_set, own))
    return np.asarray([component in chosen for component in range(out)])


@once
def _sees_constant(problem, unknown, args, tried, name):
    """For each component of a field, whether a constant in it changes a residual."""
    dtype = _dtype(unknown)
    point = jax.ShapeDtypeStruct((problem.dim,), dtype)
    shape = jax.eval_shape(entries(unknown)[name], point).shape

    # What is not linear may not see a small constant beside zero.
    levels = jnp.asarray([0.0, 0.7], dtype)

    def change(condition, x, unit, level):
        shift = rebuild(unknown, {name: lambda _: unit if shape else unit[0]})
        _, change = jax.jvp(
            lambda c: condition.residual(add(unknown, shift, c), x, args),
            (level,),
            (jnp.ones((), dtype),),
        )
        return jnp.any(change != 0)

    def seen(unit):
        at = [
            jax.vmap(
                lambda x, c=c: jax.vmap(lambda level: change(c, x, unit, level))(levels)
            )(tried[c.name])
            for c in problem.conditions
        ]
        return jnp.any(jnp.concatenate(at))

    return jax.vmap(seen)(jnp.eye(shape[0] if shape else 1, dtype=dtype))


def check_corners(problem: Problem | Energy, args: Any) -> None:
    """Raises `ValueError` if boundary or initial values disagree where parts meet."""
    data = [c for c in problem.conditions if isinstance(c, Dirichlet)]
    for first, second in itertools.combinations(data, 2):
        if first.of != second.of or not _overlap(first.component, second.component):
            continue
        for x in _common_points(first, second):
            x = jnp.asarray(x)
            a, b = (_picked(c, x, args, first, second) for c in (first, second))
            scale = 1 + float(jnp.max(jnp.abs(a)))
            gap = float(jnp.max(jnp.abs(a - b)))
            if gap > 1e-6 * scale:
                raise ValueError(
                    f"Conditions '{first.name}' and '{second.name}' disagree where their "
                    f"regions meet: at x = {np.asarray(x).round(6).tolist()} their values "
                    f"differ by {gap:.3g}. Make the data agree, or state one of them "
                    "with `exact=False`."
                )


def _overlap(a, b) -> bool:
    if a is None or b is None:
        return True
    return bool(
        {a} & {b} if isinstance(a, int) and isinstance(b, int) else _set(a) & _set(b)
    )


def _set(component) -> set[int]:
    return {component} if isinstance(component, int) else set(component)


def _picked(condition, x, args, first, second):
    value = evaluate(condition.value, x, args)
    a, b = first.component, second.component
    if value.ndim == 0 or a == b:
        return value
    shared = sorted(_set(a if a is not None else b) & _set(b if b is not None else a))
    own = condition.component
    index = shared if own is None else [list(own).index(s) for s in shared]
    return value[np.asarray(index)]


def _common_points(first: Dirichlet, second: Dirichlet):
    """Some points that lie in both regions, for the regions that say how they meet."""
    if first.exact is False or second.exact is False:
        return
    one, two = first.region, second.region
    if one.domain != two.domain:
        return
    domain = one.domain
    if one.faces and two.faces:
        lower, upper = domain.bounds
        random = np.random.default_rng(0).uniform(size=(3, domain.dim))
        for (i, s), (j, t) in itertools.product(one.faces, two.faces):
            if i == j and s != t:
                continue
            for unit in random:
                x = lower + unit * (upper - lower)
                x[i] = (lower, upper)[s][i]
                x[j] = (lower, upper)[t][j]
                yield x
        return
    names = {one.name, two.name}
    if hasattr(domain, "space") and "initial" in names and len(names) == 2:
        other = one if two.name == "initial" else two
        points, _ = other.quadrature(32)
        start = domain.bounds[0][0]
        for x in points[:8]:
            yield np.concatenate([[start], x[1:]])


def warn_uncovered(problem: Problem | Energy) -> None:
    """Warns of boundary parts that no condition speaks of."""
    if isinstance(problem, Energy):
        return
    domain = problem.domain
    covered: set[str] = set()
    for condition in problem.conditions:
        region = condition.region
        if region.is_boundary and region.domain == domain:
            covered |= set(_names(region, domain))
            covered |= set(getattr(condition, "also_covers", ()))
    open_parts = [n for n in domain.names if n not in covered and n != "final"]
    if open_parts:
        warnings.warn(
            f"No condition covers the boundary parts {open_parts}. That is right for "
            "natural or outflow boundaries; else add a condition there.",
            stacklevel=4,
        )


def _names(region, domain):
    if region.name == "boundary":
        return domain.names
    if region.name == "lateral" and hasattr(domain, "space"):
        return domain.space.names
    return region.name.split("+")


def check_statement(problem: Problem | Energy, unknown: PyTree, args: Any) -> None:
    """All checks of a problem with a field; warns of uncovered boundary parts."""
    check_unknown(problem, unknown)
    check_corners(problem, args)
    check_residuals(problem, unknown, args)
    check_determined(problem, unknown, args)
    warn_uncovered(problem)
