"""Variational problems."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx

from sobng.geometry.domain import AbstractDomain
from sobng.problem.condition import AbstractCondition
from sobng.problem.problem import check_names


class Energy(eqx.Module):
    r"""A variational problem: the field that makes $\int_\Omega e(u, x)$ least.

    The density sees the field at its one point only, by the value and by derivatives up to
    the fourth. With `normalise="l2"` the field is divided by its $L^2$ norm first (an
    eigenvalue or ground-state problem), and the solution has the norm one and a positive
    integral.

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
        check_names(conditions)
        self.density = density
        self.domain = domain
        self.conditions = tuple(conditions)
        self.normalise = normalise
        self.out = out

    @property
    def dim(self) -> int:
        """The number of coordinates of a point."""
        return self.domain.dim
