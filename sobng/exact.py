"""Wraps a field so that it obeys the conditions that can be obeyed exactly."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.fields.algebra import entries, rebuild
from sobng.fields.constrained import Constrained
from sobng.fields.field import AbstractField, sizes_of
from sobng.fields.graded import Graded
from sobng.fields.lift import BoxLift
from sobng.fields.polynomial import PolynomialLift
from sobng.fields.scaled import Scaled
from sobng.fields.stretched import Stretched
from sobng.geometry.region import Region
from sobng.problem import Dirichlet, Energy, Problem, takes_args
from sobng.problem.condition import counted
from sobng.typing import Point, Value


LIFT_DEGREES = {1: (), 2: (14, 20, 26), 3: (12,)}
"""By dimension, the degrees to which an insisted extension rises beyond the usual one.

Extensions of a high degree are dear to differentiate, and on domains with corners a penalty
is the more accurate by far, so only `exact=True` asks for them.
"""

LIFT_ROUNDING = 1e3
"""Misfit of an extension, in units of the last place, that still counts as exact."""

MAX_LIFTED_DIM = 3
"""Beyond this dimension data that are not constant are not extended from the boundary."""


class Component(eqx.Module):
    """One component of a vector datum."""

    value: Any
    index: int | None = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        value = jnp.asarray(
            self.value(x) if callable(self.value) else self.value, x.dtype
        )
        return value if self.index is None or value.ndim == 0 else value[self.index]


class ByComponent(eqx.Module):
    """Stacks one function for each component; `None` stands for a constant."""

    parts: tuple[Callable | None, ...]
    default: float = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        constant = jnp.full((), self.default, x.dtype)
        return jnp.stack([constant if p is None else p(x) for p in self.parts])


class Product(eqx.Module):
    """The product of functions of one point."""

    factors: tuple[Callable, ...]

    def __call__(self, x: Point) -> Value:
        value = self.factors[0](x)
        for factor in self.factors[1:]:
            value = value * factor(x)
        return value


def _given(value: Any) -> bool:
    """Whether a datum is the number zero."""
    return not callable(value) and not np.any(np.asarray(value))


def _wanted(condition: Dirichlet, name: str | None) -> bool:
    return condition.exact is not False and condition.of == name


def _obstacle(condition: Dirichlet, domain: Any) -> str | None:
    """Why geometry or data do not allow an exact condition."""
    if takes_args(condition.value):
        return "its value depends on `args`"
    if condition.region.domain != domain:
        # Its factor vanishes on parts that are longer, or elsewhere.
        return "its region is a part of another domain than the problem's"
    if not condition.region.has_factor:
        return "no function is known that vanishes on just this part"
    return None


def _possible(condition: Dirichlet, domain: Any) -> bool:
    """Whether a condition is to be exact; `exact=True` insists."""
    obstacle = _obstacle(condition, domain)
    if obstacle is not None and condition.exact:
        raise ValueError(
            f"Condition '{condition.name}' cannot be exact: {obstacle}. Leave `exact` "
            "out for a penalty."
        )
    if obstacle is not None:
        return False
    simple = not callable(condition.value) or condition.region.dim <= MAX_LIFTED_DIM
    return simple or condition.exact is True


def _constant(data: list[tuple[Dirichlet, Any]]) -> float | None:
    """The number that all data are, if they are."""
    values = []
    for _, value in data:
        inner = value.value
        if callable(inner):
            return None
        flat = np.asarray(inner)
        values.append(float(flat if flat.ndim == 0 else flat[value.index]))
    return values[0] if len(set(values)) == 1 else None


class Constant(eqx.Module):
    """A number, as a function of one point."""

    value: float = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        return jnp.full((), self.value, x.dtype)


def _lift(data: list[tuple[Dirichlet, Component]], dtype) -> tuple[Any, bool]:
    """An extension of the data, and whether it takes them to rounding."""
    constant = _constant(data)
    if constant is not None:
        return (None if constant == 0 else Constant(constant)), True
    if all(condition.region.faces for condition, _ in data):
        faces = {}
        for condition, value in data:
            assert condition.region.faces is not None
            zero = 0.0 if _given(condition.value) else value
            faces |= {face: zero for face in condition.region.faces}
        lower, upper = data[0][0].region.domain.bounds
        return BoxLift(lower.tolist(), upper.tolist(), faces, dtype=dtype), True
    pairs = [(condition.region, value) for condition, value in data]
    reach = LIFT_ROUNDING * float(jnp.finfo(dtype).eps)
    lift = PolynomialLift(pairs, dtype=dtype)
    insisted = any(condition.exact for condition, _ in data)
    for degree in LIFT_DEGREES.get(data[0][0].region.dim, ()) if insisted else ():
        if lift.defect > reach * lift.size:
            lift = PolynomialLift(pairs, degree=degree, dtype=dtype)
    return lift, lift.defect <= reach * lift.size


def _dtype(field: PyTree):
    leaves = [a for a in jax.tree.leaves(field) if eqx.is_inexact_array(a)]
    return jnp.result_type(*leaves) if leaves else jnp.result_type(float)


def _constrain(field: Any, conditions: list[Dirichlet], dim: int) -> Any:
    """The field with the given conditions imposed, as far as that is possible."""
    _, out = sizes_of("impose", field, dim)
    dtype = _dtype(field)
    lifts, factors, satisfies, spoiled = [], [], set(), set()
    chosen = [counted(c.component, out, c.name) for c in conditions]
    for component in range(1 if out is None else out):
        data = []
        for condition, own in zip(conditions, chosen, strict=True):
            if _concerns(own, component, out):
                index = _index(own, component, out)
                data.append((condition, Component(condition.value, index)))
        lift, exact = _lift(data, dtype) if data else (None, True)
        names = {condition.name for condition, _ in data}
        if not exact:
            insisted = [c.name for c, _ in data if c.exact]
            if insisted:
                raise ValueError(
                    f"Conditions {insisted} cannot be exact: no smooth extension of "
                    "their values from the boundary was found. Leave `exact` out for a "
                    "penalty."
                )
            spoiled |= names
            data, lift = [], None
        satisfies |= names
        parts = _factors([condition.region for condition, _ in data])
        lifts.append(lift)
        factors.append(Product(parts) if parts else None)
    if spoiled:
        # A condition that holds for some components only stays a penalty for all.
        remaining = [c for c in conditions if c.name not in spoiled]
        return _constrain(field, remaining, dim) if remaining else field
    if not satisfies:
        return field
    if out is None:
        lift, factor = lifts[0], factors[0]
    else:
        lift = None if all(p is None for p in lifts) else ByComponent(tuple(lifts), 0.0)
        factor = ByComponent(tuple(factors), 1.0)
    return Constrained(field, lift, factor=factor, satisfies=sorted(satisfies), dim=dim)


def _factors(regions: list[Region]) -> tuple[Callable, ...]:
    """What vanishes on the regions, but once only on parts that are in two of them: where
    a factor is squared the field has no slope of its own."""

    def needless(index, region):
        own = set(region.names)
        others = [set(other.names) for other in regions]
        return any(
            own < other or (own == other and place < index)
            for place, other in enumerate(others)
        )

    return tuple(r.factor for i, r in enumerate(regions) if not needless(i, r))


_Chosen = int | tuple[int, ...] | None


def _concerns(chosen: _Chosen, component: int, out: int | None) -> bool:
    """Whether a condition on the chosen components speaks of this one."""
    if out is None or chosen is None:
        return True
    if isinstance(chosen, int):
        return chosen == component
    return component in chosen


def _index(chosen: _Chosen, component: int, out: int | None) -> int | None:
    """Where a component stands in the value of a condition that speaks of it; `None` if
    the value is the component's alone."""
    if out is None or isinstance(chosen, int):
        return None
    return component if chosen is None else chosen.index(component)


def impose(problem: Problem | Energy, unknown: PyTree) -> PyTree:
    r"""Wraps the fields of an unknown so that they obey what can be obeyed exactly.

    Every [`sobng.Dirichlet`][] condition that does not say `exact=False` is imposed by
    $u = g + \varphi f$ with the factor of its region and an extension $g$ of its values
    from the boundary, wherever the geometry and the data allow; the others stay
    penalties. sobng's own fields are scaled to the domain first. A field that is wrapped
    already is returned as it is.

    **Arguments:**

    - `problem`: states the conditions.
    - `unknown`: a field, or a dict of fields and arrays.

    **Raises:** `ValueError` if a condition with `exact=True` cannot be imposed.

    !!! example

        ```python
        import jax, sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x), disk.interior, name="pde"),
            sn.Dirichlet(disk.boundary, lambda x: x[0] * x[1]),
        )
        field = sn.impose(problem, sn.MLP(2, key=jax.random.key(0)))
        ```
    """
    lower, upper = problem.domain.bounds
    data = [c for c in problem.conditions if isinstance(c, Dirichlet)]

    def one(name, field):
        if not callable(field) or getattr(field, "satisfies", None) is not None:
            return field
        if isinstance(field, AbstractField) and not _is_scaled(field):
            field = Scaled(field, lower, upper, dtype=_dtype(field))
        conditions = [
            c for c in data if _wanted(c, name) and _possible(c, problem.domain)
        ]
        return _constrain(field, conditions, problem.dim) if conditions else field

    return rebuild(unknown, {k: one(k, v) for k, v in entries(unknown).items()})


def _is_scaled(field: Any) -> bool:
    ours = isinstance(field, Scaled | Graded | Stretched)
    return ours or getattr(field, "cell", None) is not None


def homogeneous(
    problem: Problem | Energy, unknown: PyTree, fields: dict[str | None, Any]
) -> dict[str | None, Any]:
    """Fields that vanish wherever the unknown obeys a condition exactly: what may be
    added to it.

    **Arguments:**

    - `fields`: one for each entry of the unknown that is a field, by key (`None` for a
        single field).

    **Raises:** `ValueError` if the exact conditions of the unknown are not ours.
    """
    whole = rebuild(unknown, {**entries(unknown), **fields})
    imposed = entries(impose(problem, whole))
    result = {}
    for name in fields:
        field = imposed[name]
        if isinstance(field, Constrained):
            field = Constrained(
                field.field,
                None,
                factor=field.factor,
                satisfies=field.satisfies,
                dim=problem.dim,
            )
        result[name] = field
    if satisfied(result) != satisfied(unknown):
        raise ValueError(
            "The exact conditions of this field were not imposed by sobng, so that no "
            "space of errors is known that obeys them."
        )
    return result


def normalised(problem: Problem | Energy, unknown: PyTree, points: Any) -> PyTree:
    """The unknown of an energy that says `normalise="l2"`, over its norm, with the sign
    that makes its integral positive; any other as it is.

    **Arguments:**

    - `points`: the collocation, whose interior has the empty name.
    """
    if not isinstance(problem, Energy) or problem.normalise is None:
        return unknown
    weights = points.weights[""]
    values = jax.vmap(unknown)(points.points[""])
    norm = jnp.sqrt(jnp.sum(weights * values**2))
    scale = jnp.where(jnp.sum(weights * values) < 0, -1, 1) / norm
    names = sorted(satisfied(unknown))
    factor = Constant(float(scale))
    return Constrained(unknown, None, factor=factor, satisfies=names, dim=problem.dim)


def satisfied(unknown: PyTree) -> frozenset[str]:
    """The names of the conditions that an unknown obeys by construction."""
    names: set[str] = set()

    def visit(node):
        names.update(getattr(node, "satisfies", ()))
        return False

    jax.tree.leaves(unknown, is_leaf=visit)
    return frozenset(names)
