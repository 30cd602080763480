"""What is to be solved: conditions at points of regions, gathered in a problem."""

import abc
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.calculus import normal_derivative
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.region import Region


def _check(region: Any, weight: float, name: str) -> None:
    if not isinstance(region, Region):
        raise ValueError(
            f"Condition '{name}' needs a region, the interior or a boundary part of a "
            f"domain. Got {region!r}. Write for instance `square.interior` or "
            "`square.boundary`."
        )
    if not (isinstance(weight, int | float) and 0 < weight < float("inf")):
        raise ValueError(
            f"Condition '{name}' needs a positive, finite weight. Got {weight!r}. "
            "Leave a condition out instead of weighting it with zero."
        )


class AbstractCondition(eqx.Module):
    """Something that the unknown obeys at every point of a region.

    A condition enters the loss as $\\tfrac12\\, w \\int |r|^2$: the integral (not the
    mean) of its squared residual over its region, times its `weight`.
    """

    region: eqx.AbstractVar[Region]
    name: eqx.AbstractVar[str]
    weight: eqx.AbstractVar[float]

    @abc.abstractmethod
    def residual(self, u, x, args) -> Any:
        """The residual at one point.

        **Arguments:**

        - `u`: the unknown: a callable of one point, or a dict of callables and arrays.
        - `x`: a point, shape `(dim,)`.
        - `args`: what the caller of `solve` passed as `args`.

        **Returns:** a scalar or a vector that vanishes where the condition holds.
        """


class Condition(AbstractCondition):
    """A condition stated by a residual function of one point.

    !!! example

        ```python
        import sobng as sn

        interval = sn.Interval(0.0, 1.0)


        def equation(u, x, args):
            return sn.laplacian(u)(x) + 1.0


        sn.Condition(equation, interval.interior, name="poisson")
        ```
    """

    function: Callable = eqx.field(static=True)
    region: Region
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self,
        residual: Any,
        region: Any,
        *,
        name: str | None = None,
        weight: float = 1.0,
    ):
        """**Arguments:**

        - `residual`: a function `residual(u, x, args)` of one point `x`.
        - `region`: where it holds.
        - `name`: a name for logs and messages; the function's own name by default.
        - `weight`: a positive factor of this condition's part of the loss.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not callable(residual):
            raise ValueError(
                "`Condition` needs a function `residual(u, x, args)`. "
                f"Got {residual!r}."
            )
        own: str = getattr(residual, "__name__", "condition")
        self.name = own if name is None else name
        _check(region, weight, self.name)
        self.function = residual
        self.region = region
        self.weight = weight

    def residual(self, u, x, args):
        return self.function(u, x, args)


def takes_args(value: Any) -> bool:
    """Whether a datum is a function of `(x, args)` rather than of `x` alone."""
    if not callable(value):
        return False
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        p
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 2


def evaluate(value: Any, x, args):
    """A datum at a point: a number, an array, `value(x)` or `value(x, args)`."""
    if takes_args(value):
        return jnp.asarray(value(x, args), x.dtype)
    if callable(value):
        return jnp.asarray(value(x), x.dtype)
    return jnp.asarray(value, x.dtype)


def _pick(of: str | None, component: int | Sequence[int] | None):
    """A function from the unknown to the part of it that a datum speaks of."""

    def pick(u):
        v = u if of is None else u[of]
        if component is None:
            return v
        index = component if isinstance(component, int) else jnp.asarray(component)
        return lambda x: v(x)[index]

    return pick


def _as_static(component):
    if component is None or isinstance(component, int):
        return component
    return tuple(int(c) for c in component)


class Dirichlet(AbstractCondition):
    """The unknown takes a given value, $u = g$, on a boundary part.

    On an initial surface this is an initial condition.

    !!! example

        ```python
        import sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        sn.Dirichlet(square.boundary, 0.0, name="wall")
        sn.Dirichlet(square.part("left"), lambda x: x[1] ** 2, exact=False)
        ```
    """

    region: Region
    value: Any
    exact: bool | None = eqx.field(static=True)
    of: str | None = eqx.field(static=True)
    component: int | tuple[int, ...] | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self,
        region: Any,
        value: Any,
        exact: bool | None = None,
        *,
        of: str | None = None,
        component: int | Sequence[int] | None = None,
        name: str | None = None,
        weight: float = 1.0,
    ):
        """**Arguments:**

        - `region`: a boundary part.
        - `value`: a number, an array, or a function `value(x)` or `value(x, args)` of
            one point. It is only ever evaluated on the region.
        - `exact`: `True` imposes the value by a wrapper around the field, `False` by a
            penalty, `None` (default) exactly wherever the geometry and the data allow.
        - `of`: which entry, when the unknown is a dict of fields.
        - `component`: which component or components of a vector field.
        - `name`, `weight`: as in [`sobng.Condition`][]; the weight acts on a penalty.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        name = (
            f"dirichlet on {getattr(region, 'name', region)}" if name is None else name
        )
        _check(region, weight, name)
        self.region = region
        self.value = value
        self.exact = exact
        self.of = of
        self.component = _as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = _pick(self.of, self.component)(u)
        return u(x) - evaluate(self.value, x, args)


class Neumann(AbstractCondition):
    r"""The outward normal derivative is given, $\partial_\nu u = g$, by a penalty.

    !!! example

        ```python
        import sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        sn.Neumann(disk.boundary, 0.0)
        ```
    """

    region: Region
    value: Any
    of: str | None = eqx.field(static=True)
    component: int | tuple[int, ...] | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self, region, value, *, of=None, component=None, name=None, weight=1.0
    ):
        """**Arguments:** as in [`sobng.Dirichlet`][]."""
        name = f"neumann on {getattr(region, 'name', region)}" if name is None else name
        _check(region, weight, name)
        self.region = region
        self.value = value
        self.of = of
        self.component = _as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = _pick(self.of, self.component)(u)
        return normal_derivative(u, self.region)(x) - evaluate(self.value, x, args)


class Robin(AbstractCondition):
    r"""A value and its normal derivative together, $a u + b\,\partial_\nu u = g$.

    !!! example

        ```python
        import sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        sn.Robin(disk.boundary, 1.0, 0.5, 0.0)
        ```
    """

    region: Region
    a: Any
    b: Any
    value: Any
    of: str | None = eqx.field(static=True)
    component: int | tuple[int, ...] | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self, region, a, b, value, *, of=None, component=None, name=None, weight=1.0
    ):
        """**Arguments:**

        - `a`, `b`, `value`: numbers, arrays or functions of one point.
        - the rest as in [`sobng.Dirichlet`][].
        """
        name = f"robin on {getattr(region, 'name', region)}" if name is None else name
        _check(region, weight, name)
        self.region = region
        self.a = a
        self.b = b
        self.value = value
        self.of = of
        self.component = _as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = _pick(self.of, self.component)(u)
        a, b = evaluate(self.a, x, args), evaluate(self.b, x, args)
        slope = normal_derivative(u, self.region)(x)
        return a * u(x) + b * slope - evaluate(self.value, x, args)


class Periodic(AbstractCondition):
    """The unknown and its derivative agree on opposite faces of a box.

    A field with a periodic embedding in that axis obeys it exactly; any other by a
    penalty on the jump of the value and of its derivative along the axis.

    !!! example

        ```python
        import sobng as sn

        box = sn.Box((0.0, 0.0), (1.0, 1.0))
        sn.Periodic(box, axis=0)
        ```
    """

    region: Region
    axis: int = eqx.field(static=True)
    length: float = eqx.field(static=True)
    also_covers: tuple[str, ...] = eqx.field(static=True)
    of: str | None = eqx.field(static=True)
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(self, domain: Any, axis: int, *, of=None, name=None, weight=1.0):
        """**Arguments:**

        - `domain`: an axis-aligned box, or a product of a time interval with one.
        - `axis`: the coordinate in which the unknown repeats.
        - the rest as in [`sobng.Dirichlet`][].

        **Raises:** `ValueError` if the domain has no opposite faces in that axis.
        """
        if not hasattr(domain, "face") or not 0 <= axis < domain.dim:
            raise ValueError(
                "`Periodic` needs an axis-aligned box and one of its axes. Got "
                f"{domain!r} and axis {axis!r}."
            )
        name = f"periodic in axis {axis}" if name is None else name
        region = domain.face(axis, 0)
        _check(region, weight, name)
        lower, upper = domain.bounds
        self.region = region
        self.axis = axis
        self.length = float(upper[axis] - lower[axis])
        self.also_covers = (domain.face(axis, 1).name,)
        self.of = of
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = _pick(self.of, None)(u)
        shift = jnp.zeros_like(x).at[self.axis].set(self.length)

        def jump(v):
            return v(x + shift) - v(x)

        unit = jnp.zeros_like(x).at[self.axis].set(1.0)

        def slope(y):

            return jax.jvp(u, (y,), (unit,))[1]

        return jnp.stack([jump(u), jump(slope)])


def _unique(conditions: Sequence[AbstractCondition]) -> None:
    names = [c.name for c in conditions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"Two conditions are called '{name}'. Weights, logs and messages are "
                "keyed by name: give each condition its own with `name=`."
            )


class Problem(eqx.Module):
    """A partial differential equation with its conditions, in least-squares form.

    The loss is the sum over the conditions of half the weighted integral of the
    squared residual.

    !!! example

        ```python
        import sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, square.interior,
                         name="poisson"),
            sn.Dirichlet(square.boundary, 0.0, name="wall"),
        )
        ```
    """

    conditions: tuple[AbstractCondition, ...]
    out: int | None = eqx.field(static=True)

    def __init__(self, *conditions: Any, out: int | None = None):
        """**Arguments:**

        - `conditions`: any number of conditions with different names.
        - `out`: the components of the unknown, for when sobng chooses the field; `None`
            for a scalar.

        **Raises:** `ValueError` if there is none, if one is not a condition, if two
        share a name, or if their regions differ in dimension.
        """
        if not conditions:
            raise ValueError(
                "`Problem` needs at least one condition. Got none. Pass for instance "
                "`sobng.Condition(residual, domain.interior)`."
            )
        for condition in conditions:
            if not isinstance(condition, AbstractCondition):
                raise ValueError(
                    f"`Problem` takes conditions. Got {condition!r}. Wrap a residual "
                    "function as `sobng.Condition(residual, region)`."
                )
        _unique(conditions)
        dims = {c.name: c.region.dim for c in conditions}
        if len(set(dims.values())) > 1:
            raise ValueError(
                f"The regions of a problem share one dimension. Got {dims}. A "
                "space-time region comes from a product of an interval with a domain."
            )
        self.conditions = tuple(conditions)
        self.out = out

    @property
    def domain(self) -> AbstractDomain:
        """The domain of the first condition on an interior, else of the first."""
        for condition in self.conditions:
            if not condition.region.is_boundary:
                return condition.region.domain
        return self.conditions[0].region.domain

    @property
    def dim(self) -> int:
        """The number of coordinates of a point."""
        return self.conditions[0].region.dim


class Energy(eqx.Module):
    r"""A variational problem: the field that makes $\int_\Omega e(u, x)$ least.

    With `normalise="l2"` the field is divided by its $L^2$ norm first (an eigenvalue or
    ground-state problem).

    !!! example

        ```python
        import sobng as sn

        interval = sn.Interval(-1.0, 1.0)


        def density(u, x, args):
            slope = sn.gradient(u)(x)[0]
            return 0.5 * slope**2 + 0.5 * u(x) ** 2 - u(x)


        energy = sn.Energy(density, interval)
        ```
    """

    density: Callable = eqx.field(static=True)
    domain: AbstractDomain
    conditions: tuple[AbstractCondition, ...]
    normalise: str | None = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(
        self,
        density: Any,
        domain: Any,
        *,
        conditions: Sequence[AbstractCondition] = (),
        normalise: str | None = None,
        out: int | None = None,
    ):
        """**Arguments:**

        - `density`: the integrand `density(u, x, args)` at one point.
        - `domain`: over what it is integrated.
        - `conditions`: essential conditions; those that are not exact enter as half
            the weighted integral of their squared residual.
        - `normalise`: `None` or `"l2"`.
        - `out`: as in [`sobng.Problem`][].

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not callable(density):
            raise ValueError(
                f"`Energy` needs a function `density(u, x, args)`. Got {density!r}."
            )
        if not isinstance(domain, AbstractDomain):
            raise ValueError(f"`Energy` needs a domain. Got {domain!r}.")
        if normalise not in (None, "l2"):
            raise ValueError(f"`normalise` is `None` or 'l2'. Got {normalise!r}.")
        _unique(conditions)
        self.density = density
        self.domain = domain
        self.conditions = tuple(conditions)
        self.normalise = normalise
        self.out = out

    @property
    def dim(self) -> int:
        """The number of coordinates of a point."""
        return self.domain.dim


class Case(eqx.Module):
    """A problem with what is needed to run and to judge it; what a problem file gives.

    !!! example

        ```python
        import sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) - 2.0, interval.interior,
                         name="poisson"),
            sn.Dirichlet(interval.boundary, lambda x: x[0] ** 2),
        )
        case = sn.Case("parabola", problem, None, reference=lambda x: x[0] ** 2)
        ```
    """

    name: str = eqx.field(static=True)
    problem: Any
    field: Callable | None = eqx.field(static=True)
    reference: Callable | None = eqx.field(static=True)
    observe: Any = eqx.field(static=True)
    solver: Any
    options: dict[str, Any]
    accuracy: float | None = eqx.field(static=True)
    tags: tuple[str, ...] = eqx.field(static=True)
    good_values: str = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        problem: Any,
        field: Any,
        *,
        reference: Callable | None = None,
        observe: Any = None,
        solver: Any = None,
        options: Mapping[str, Any] | None = None,
        accuracy: float | None = None,
        tags: Sequence[str] = (),
        good_values: str = "",
    ):
        """**Arguments:**

        - `name`: the name in tables.
        - `problem`: a [`sobng.Problem`][] or [`sobng.Energy`][].
        - `field`: a function from a key to a field, or `None` to let sobng choose.
        - `reference`: the exact or reference solution at one point.
        - `observe`: what of the unknown the reference speaks of: `None` (all of it), a
            component or components, a key of a dict, a function `observe(value)` of
            the value, or `observe(u, x)`.
        - `solver`: a solver, or `None` for the default.
        - `options`: keywords for `solve`.
        - `accuracy`: the relative L2 error that counts as success.
        - `tags`, `good_values`: for people and for lists.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not isinstance(problem, Problem | Energy):
            raise ValueError(
                f"Case '{name}' needs a `Problem` or an `Energy`. Got {problem!r}."
            )
        if field is not None and not callable(field):
            raise ValueError(
                f"The field of case '{name}' is a function from a key to a field, or "
                f"`None`. Got {field!r}."
            )
        self.name = name
        self.problem = problem
        self.field = field
        self.reference = reference
        self.observe = observe
        self.solver = solver
        self.options = {} if options is None else dict(options)
        self.accuracy = accuracy
        self.tags = tuple(tags)
        self.good_values = good_values
