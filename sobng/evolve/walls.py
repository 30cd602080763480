"""Fields that obey the boundary conditions of an evolution at every time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.exact import impose, satisfied
from sobng.fields.field import AbstractField
from sobng.problem import Condition, Dirichlet, Evolution, Periodic, Problem
from sobng.problem.evolution import moves_in_time, value_in_time
from sobng.typing import Point, Value


class Moment(eqx.Module):
    """A boundary datum at one time; `at_time` changes the time."""

    value: Any = eqx.field(static=True)
    t: Any
    args: PyTree

    def __call__(self, x: Point) -> Value:
        return value_in_time(self.value, self.t, x, self.args)


def _is_moment(node: Any) -> bool:
    return isinstance(node, Moment)


def at_time(unknown: PyTree, t: Any, args: Any) -> PyTree:
    """The unknown with the boundary data of another time."""

    def renew(node):
        return Moment(node.value, t, args) if _is_moment(node) else node

    return jax.tree.map(renew, unknown, is_leaf=_is_moment)


def has_moments(unknown: PyTree) -> bool:
    """Whether the boundary data of an unknown may change in time."""
    nodes = jax.tree.leaves(unknown, is_leaf=_is_moment)
    return any(_is_moment(n) and moves_in_time(n.value) for n in nodes)


def walled(
    evolution: Evolution, field: Any, t: Any, args: Any, built_in: bool = True
) -> Any:
    """The field with all conditions imposed that can be, at the time `t`.

    **Arguments:**

    - `built_in`: whether those are too that need not be exact.

    **Raises:** `ValueError` if a condition that has to be exact cannot be.
    """
    conditions = [
        _now(c, t, args)
        for c in evolution.boundary
        if isinstance(c, Dirichlet) and (built_in or c.exact)
    ]
    inside = Condition(
        lambda u, x, args: u(x),
        evolution.domain.interior,
        name="inside of an evolution",
    )
    return impose(Problem(inside, *conditions), field)


def _now(condition: Dirichlet, t: Any, args: Any) -> Dirichlet:
    """A Dirichlet condition as one of space alone."""
    value, exact = condition.value, condition.exact
    if moves_in_time(value) and not condition.region.faces:
        if exact:
            raise ValueError(
                f"Condition '{condition.name}' cannot be exact: its values move in time, "
                "and they are extended from the faces of a box only. Leave `exact` out "
                "for a penalty."
            )
        exact = False
    return Dirichlet(
        condition.region,
        Moment(value, t, args) if callable(value) else value,
        exact,
        of=condition.of,
        component=condition.component,
        name=condition.name,
        weight=condition.weight,
    )


def left_over(evolution: Evolution, unknown: Any) -> tuple[Any, ...]:
    """The boundary conditions that the unknown does not obey by construction."""
    known = satisfied(unknown)
    return tuple(
        c
        for c in evolution.boundary
        if c.name not in known and not isinstance(c, Periodic)
    )


def check_periods(evolution: Evolution, unknown: Any) -> None:
    """Raises `ValueError` unless a field repeats where the evolution says so."""
    for condition in evolution.boundary:
        if not isinstance(condition, Periodic):
            continue
        points, _ = condition.region.quadrature(4)
        points = jnp.asarray(points)
        jumps = jax.vmap(lambda x, c=condition: c.residual(unknown, x, None))(points)
        scale = 1 + jnp.max(jnp.abs(jax.vmap(unknown)(points)))
        # Slopes lose digits to frequencies of a few hundred.
        if not float(jnp.max(jnp.abs(jumps))) < 1e6 * float(
            jnp.finfo(jumps.dtype).eps * scale
        ):
            raise ValueError(
                f"The field does not repeat as condition '{condition.name}' says. Wrap "
                "it: `sobng.PeriodicEmbedding(inner, {axis: period})` with an `inner` "
                "of one coordinate more for each periodic axis."
            )


def residual_in_time(condition: Any, u: Any, t: Any, x: Point, args: Any) -> Value:
    """A boundary condition of an evolution at one point and time."""
    if isinstance(condition, Condition):
        held: Any = condition.function
        return jnp.asarray(held(u, t, x, args), x.dtype)
    held = condition
    for name in ("value", "a", "b"):
        value = getattr(condition, name, None)
        if callable(value):
            held = eqx.tree_at(
                lambda c, name=name: getattr(c, name), held, Moment(value, t, args)
            )
    return held.residual(u, x, args)


class Nothing(AbstractField):
    """The field that is zero."""

    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        return jnp.zeros(() if self.out is None else (self.out,), x.dtype)

    def linear_leaves(self):
        return self
