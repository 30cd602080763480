"""Conditions gathered in a problem."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx

from sobng.geometry.domain import AbstractDomain
from sobng.problem.condition import AbstractCondition


def check_names(conditions: Sequence[AbstractCondition]) -> None:
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
        check_names(conditions)
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
