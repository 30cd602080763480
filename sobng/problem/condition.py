"""Conditions by a residual function of one point, and the data they carry."""

import abc
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.geometry.region import Region
from sobng.norms import SobolevNorm


def check_region(region: Any, weight: float, name: str) -> None:
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
    r"""A condition stated by a residual function of one point.

    With a `norm` of order $s$ it enters the loss as $\tfrac12\, w\, \lVert r\rVert_s^2$
    instead. The dual norm of order $-k/2$ of a residual of order $k$ is, up to constants,
    the error in the energy norm, and that of order $-k$ the error in $L^2$.

    !!! example

        ```python
        import sobng as sn

        interval = sn.Interval(0.0, 1.0)


        def equation(u, x, args):
            return sn.laplacian(u)(x) + 1.0


        sn.Condition(equation, interval.interior, name="poisson")
        sn.Condition(equation, interval.interior, norm=sn.SobolevNorm(-1))
        ```
    """

    function: Callable = eqx.field(static=True)
    region: Region
    norm: SobolevNorm | None
    name: str = eqx.field(static=True)
    weight: float = eqx.field(static=True)

    def __init__(
        self,
        residual: Any,
        region: Any,
        *,
        norm: Any = None,
        name: str | None = None,
        weight: float = 1.0,
    ):
        """**Arguments:**

        - `residual`: a function `residual(u, x, args)` of one point `x`.
        - `region`: where it holds.
        - `norm`: a [`sobng.SobolevNorm`][] that measures the residual, component by
            component; $L^2$ by default. On an interior only.
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
        check_region(region, weight, self.name)
        if isinstance(norm, SobolevNorm):
            norm.check(region)
        elif norm is not None:
            raise ValueError(
                f"Condition '{self.name}' is measured in a norm such as "
                f"`sobng.SobolevNorm(-1)`. Got {norm!r}."
            )
        self.function = residual
        self.region = region
        self.norm = norm
        self.weight = weight

    def residual(self, u, x, args):
        return self.function(u, x, args)


@eqx.filter_jit
def residual_at(condition: AbstractCondition, u: Any, x, args: Any):
    """The residual at one point, flat: Python runs it once for a field of some shape,
    and not once for each of the losses, steps and derivatives that are made of it."""
    return jnp.ravel(condition.residual(u, x, args))


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
        value = value(x, args)
    elif callable(value):
        value = value(x)
    return real(value, x.dtype, "A value of a condition")


def real(value: Any, dtype: Any, what: str) -> Any:
    """A value as an array of this kind; a cast would keep the real part of complex ones."""
    check_real(value, what)
    return jnp.asarray(value, dtype)


def check_real(value: Any, what: str) -> None:
    """Raises `ValueError` for complex numbers."""
    if any(map(jnp.iscomplexobj, jax.tree.leaves(value))):
        raise ValueError(
            f"{what} is complex. State real and imaginary part as a system."
        )


def pick(of: str | None, component: int | Sequence[int] | None):
    """A function from the unknown to the part of it that a datum speaks of."""

    def pick(u):
        v = u if of is None else u[of]
        if component is None:
            return v
        index = component if isinstance(component, int) else jnp.asarray(component)
        return lambda x: v(x)[index]

    return pick


def as_static(component):
    if component is None:
        return None
    if isinstance(component, int | np.integer):
        return int(component)
    return tuple(int(c) for c in component)


def counted(component: int | tuple[int, ...] | None, out: int | None, name: str):
    """The component or components that a condition speaks of, counted from the front.

    **Raises:** `ValueError` for one that a field of `out` components does not have.
    """
    if component is None or out is None:
        return component
    single = isinstance(component, int)
    for one in (component,) if single else component:
        if not -out <= one < out:
            raise ValueError(
                f"Condition '{name}' speaks of component {one} of a field with {out}. "
                f"Choose from 0 to {out - 1}."
            )
    return component % out if single else tuple(one % out for one in component)
