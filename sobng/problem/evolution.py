"""What changes in time: an equation u_t = F(u) with its initial and boundary data."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.calculus import partial
from sobng.geometry.box import Interval
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.region import Region
from sobng.geometry.spacetime import SpaceTime
from sobng.problem.boundary import Dirichlet, Neumann, Periodic, Robin
from sobng.problem.condition import (
    AbstractCondition,
    check_real,
    Condition,
    real,
    takes_args,
)
from sobng.problem.problem import check_names, Problem


def value_in_time(value: Any, t: Any, x: Any, args: Any) -> Any:
    """A datum of an evolution: a number or a function of `x`, `(t, x)` or all three."""
    if callable(value):
        given = {1: (x,), 2: (t, x)}.get(num_arguments(value), (t, x, args))
        value = value(*given)
    return real(value, x.dtype, "A boundary value")


def num_arguments(function: Any) -> int:
    """How many arguments a function requires; one if nobody can tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters)


def moves_in_time(value: Any) -> bool:
    """Whether a datum may change in time."""
    # One of `*args` is given the time too, as in `value_in_time`.
    return callable(value) and num_arguments(value) != 1


class Evolution(eqx.Module):
    r"""An equation $u_t = F(u)$ with initial values and boundary conditions.

    The unknown is a function of space; [`sobng.evolve`][] moves it in time, and
    `space_time` makes a [`sobng.Problem`][] of the same statement, for
    [`sobng.solve`][].

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        rod = sn.Interval(0.0, 1.0)


        def rhs(u, t, x, args):
            return sn.laplacian(u)(x) / 4


        heat = sn.Evolution(
            rhs,
            lambda x: jnp.sin(jnp.pi * x[0]),
            rod,
            boundary=[sn.Dirichlet(rod.boundary, 0.0)],
        )
        problem = heat.space_time(0.0, 1.0)
        ```
    """

    rhs: Callable = eqx.field(static=True)
    initial: Callable = eqx.field(static=True)
    domain: AbstractDomain
    boundary: tuple[AbstractCondition, ...]
    args: PyTree
    out: int | None = eqx.field(static=True)

    def __init__(
        self,
        rhs: Any,
        initial: Any,
        domain: Any,
        *,
        boundary: Sequence[Any] = (),
        args: Any = None,
    ):
        """**Arguments:**

        - `rhs`: the function `rhs(u, t, x, args)`, the time derivative at one point
            `x` of space; a vector for a system.
        - `initial`: the function `initial(x)` or `initial(x, args)`.
        - `domain`: where in space.
        - `boundary`: conditions on parts of its boundary: [`sobng.Dirichlet`][],
            [`sobng.Neumann`][], [`sobng.Robin`][] and [`sobng.Periodic`][], whose
            values are numbers or functions of `x`, of `(t, x)` or of `(t, x, args)`;
            or a [`sobng.Condition`][] by its residual `(u, t, x, args)`.
        - `args`: what all these functions are given.

        **Raises:** `ValueError` if an argument is of the wrong kind, or the initial
        values are no scalar or vector at a point.
        """
        for name, function, form in (
            ("rhs", rhs, "rhs(u, t, x, args)"),
            ("initial", initial, "initial(x)"),
        ):
            if not callable(function):
                raise ValueError(
                    f"`Evolution` needs a function `{form}`. Got {name}={function!r}."
                )
        if not isinstance(domain, AbstractDomain) or isinstance(domain, SpaceTime):
            raise ValueError(
                f"`Evolution` needs a domain in space, without time. Got {domain!r}."
            )
        for condition in boundary:
            _check_boundary(condition, domain)
        check_names(boundary)
        self.rhs = rhs
        self.initial = initial
        self.domain = domain
        self.boundary = tuple(boundary)
        self.args = args
        self.out = _components(initial, domain.dim, args)

    @property
    def dim(self) -> int:
        """The number of coordinates of a point in space."""
        return self.domain.dim

    @property
    def conditions(self) -> tuple[AbstractCondition, ...]:
        """The boundary conditions."""
        return self.boundary

    def initial_value(self, x: Any, args: Any) -> Any:
        """The initial value at a point of space."""
        return initial_value(self.initial, x, args)

    def space_time(self, t0: float, t1: float) -> Problem:
        """The same statement as one problem for all times, with points `(t, x)`.

        A problem holds no `args`: hand those of the evolution to
        `sobng.solve(problem, ..., args=evolution.args)`.

        **Arguments:**

        - `t0`, `t1`: the interval of time.

        **Raises:** `ValueError` unless `t0 < t1`.
        """
        if not t0 < t1:
            raise ValueError(f"Time runs from t0 to a later t1. Got t0={t0}, t1={t1}.")
        cylinder = SpaceTime(Interval(t0, t1), self.domain)

        def equation(u, point, args):
            now = lambda x: u(jnp.concatenate([point[:1], x]))
            rate = self.rhs(now, point[0], point[1:], args)
            return partial(u, 0)(point) - rate

        plain = not takes_args(self.initial)
        start = (
            (lambda point: self.initial_value(point[1:], None))
            if plain
            else (lambda point, args: self.initial_value(point[1:], args))
        )
        return Problem(
            Condition(equation, cylinder.interior, name="equation"),
            Dirichlet(cylinder.initial, start, name="initial"),
            *(_in_space_time(c, cylinder) for c in self.boundary),
            out=self.out,
        )


def initial_value(initial: Callable, x: Any, args: Any) -> Any:
    """Initial values from `initial(x)` or `initial(x, args)`."""
    return real(_given(initial, x, args), x.dtype, "The initial value")


def _given(initial: Any, x: Any, args: Any) -> Any:
    return initial(x, args) if takes_args(initial) else initial(x)


def _components(initial: Callable, dim: int, args: Any) -> int | None:
    point = jax.ShapeDtypeStruct((dim,), jnp.result_type(float))
    try:
        value = jax.eval_shape(lambda x: jnp.asarray(_given(initial, x, args)), point)
    except (TypeError, ValueError, IndexError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The initial values cannot be evaluated at a point of shape ({dim},): "
            f"{lines[0].rstrip('.')}. Write them for one point of space."
        ) from error
    check_real(value, "The initial value")
    if value.ndim > 1:
        raise ValueError(
            f"The initial values have shape {value.shape} at one point. Give a scalar, "
            "or a vector with one entry for each component."
        )
    return value.shape[0] if value.ndim else None


def _check_boundary(condition: Any, domain: AbstractDomain) -> None:
    if not isinstance(condition, AbstractCondition):
        raise ValueError(
            f"`boundary` takes conditions. Got {condition!r}. Write for instance "
            "`boundary=[sobng.Dirichlet(domain.boundary, 0.0)]`."
        )
    region = condition.region
    if not region.is_boundary or region.domain != domain:
        raise ValueError(
            f"Condition '{condition.name}' of an evolution holds on a part of the "
            f"boundary of its own domain, in space. Got the region '{region.name}' of "
            f"{region.domain!r}."
        )


def _in_space_time(condition: Any, cylinder: SpaceTime) -> AbstractCondition:
    """A boundary condition of the space, on the lateral part of the product."""
    names = {"name": condition.name, "weight": condition.weight}
    if isinstance(condition, Periodic):
        return Periodic(cylinder, 1 + condition.axis, of=condition.of, **names)
    region: Region = cylinder.part(*condition.region.names)
    if isinstance(condition, Condition):
        held: Any = condition.function

        def residual(u, point, args):
            now = lambda x: u(jnp.concatenate([point[:1], x]))
            return held(now, point[0], point[1:], args)

        return Condition(residual, region, **names)
    if not isinstance(condition, Dirichlet | Neumann | Robin):
        raise ValueError(
            f"Condition '{condition.name}' of type {type(condition).__name__} has no "
            "form in space-time. State it as a `sobng.Condition`."
        )
    value = _point_value(condition.value)
    data = {"of": condition.of, "component": condition.component, **names}
    if isinstance(condition, Dirichlet):
        return Dirichlet(region, value, condition.exact, **data)
    if isinstance(condition, Neumann):
        return Neumann(region, value, **data)
    return Robin(
        region, _point_value(condition.a), _point_value(condition.b), value, **data
    )


def _point_value(value: Any) -> Any:
    """A datum of `x`, `(t, x)` or `(t, x, args)` as one of a space-time point."""
    if not callable(value):
        return value
    if num_arguments(value) in (1, 2):
        return lambda point: value_in_time(value, point[0], point[1:], None)
    return lambda point, args: value_in_time(value, point[0], point[1:], args)


def second_order(
    acceleration: Any,
    initial: Any,
    velocity: Any,
    domain: Any,
    *,
    boundary: Sequence[Any] = (),
    args: Any = None,
) -> Evolution:
    r"""The evolution of $u_{tt} = F(u)$ as a system for $(u, u_t)$.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        string = sn.Interval(0.0, 1.0)
        wave = sn.second_order(
            lambda u, t, x, args: 4 * sn.laplacian(u)(x),
            lambda x: jnp.sin(jnp.pi * x[0]),
            lambda x: 0.0 * x[0],
            string,
            boundary=[sn.Dirichlet(string.boundary, 0.0)],
        )
        ```

    **Arguments:**

    - `acceleration`: the function `acceleration(u, t, x, args)` for a scalar `u`.
    - `initial`, `velocity`: $u$ and $u_t$ at the start.
    - `domain`, `boundary`, `args`: as in [`sobng.Evolution`][], for $u$ itself; the
        boundary values of $u_t$ are derived.

    **Raises:** `ValueError` for conditions other than Dirichlet, Neumann and periodic.
    """

    def rhs(w, t, x, args):
        u = lambda x: w(x)[0]
        rate = real(acceleration(u, t, x, args), x.dtype, "`acceleration`")
        return jnp.stack([w(x)[1], rate])

    def start(x, args):
        both = (initial, velocity)
        return jnp.stack([initial_value(f, x, args) for f in both])

    first: Any = start
    if not (takes_args(initial) or takes_args(velocity)):
        first = lambda x: start(x, None)
    conditions = [_both_orders(c) for c in boundary]
    return Evolution(rhs, first, domain, boundary=conditions, args=args)


def _both_orders(condition: Any) -> AbstractCondition:
    if isinstance(condition, Periodic):
        return condition
    if not isinstance(condition, Dirichlet | Neumann):
        raise ValueError(
            "`second_order` derives the values of u_t for Dirichlet, Neumann and "
            f"periodic conditions. Got {condition!r}. State the system for (u, u_t) "
            "as an `Evolution`."
        )
    names = {"name": condition.name, "weight": condition.weight}
    kind: Any = type(condition)
    exact = {"exact": condition.exact} if isinstance(condition, Dirichlet) else {}
    both = _value_and_slope(condition.value)
    return kind(condition.region, both, **exact, **names)


def _value_and_slope(value: Any) -> Any:
    """A datum with its derivative in time, as a datum of two components."""
    if not callable(value):
        return jnp.asarray([value, 0.0])
    if not moves_in_time(value):
        steady = lambda x: value_in_time(value, None, x, None)
        return lambda x: jnp.stack([steady(x), jnp.zeros((), x.dtype)])

    def moving(t, x, args):
        at = lambda t: value_in_time(value, t, x, args)
        return jnp.stack(jax.jvp(at, (t,), (jnp.ones_like(t),)))

    return (lambda t, x: moving(t, x, None)) if num_arguments(value) == 2 else moving
