"""Boundary conditions that carry their data."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.calculus import normal_derivative
from sobng.geometry.region import Region
from sobng.problem.condition import (
    AbstractCondition,
    as_static,
    check_region,
    evaluate,
    pick,
)


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

        - `region`: a boundary part; in an interior the value is a penalty.
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
        check_region(region, weight, name)
        self.region = region
        self.value = value
        self.exact = exact
        self.of = of
        self.component = as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = pick(self.of, self.component)(u)
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
        check_region(region, weight, name)
        self.region = region
        self.value = value
        self.of = of
        self.component = as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = pick(self.of, self.component)(u)
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
        check_region(region, weight, name)
        self.region = region
        self.a = a
        self.b = b
        self.value = value
        self.of = of
        self.component = as_static(component)
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = pick(self.of, self.component)(u)
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
        check_region(region, weight, name)
        lower, upper = domain.bounds
        self.region = region
        self.axis = axis
        self.length = float(upper[axis] - lower[axis])
        self.also_covers = (domain.face(axis, 1).name,)
        self.of = of
        self.name = name
        self.weight = weight

    def residual(self, u, x, args):
        u = pick(self.of, None)(u)
        shift = jnp.zeros_like(x).at[self.axis].set(self.length)

        def jump(v):
            return v(x + shift) - v(x)

        unit = jnp.zeros_like(x).at[self.axis].set(1.0)

        def slope(y):
            return jax.jvp(u, (y,), (unit,))[1]

        return jnp.ravel(jnp.stack([jump(u), jump(slope)]))
