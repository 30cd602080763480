"""A problem with what is needed to run and to judge it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx

from sobng.problem.energy import Energy
from sobng.problem.evolution import Evolution
from sobng.problem.problem import Problem


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
    reference: Callable | None
    observe: Any = eqx.field(static=True)
    solver: Any
    options: dict[str, Any]
    accuracy: float | None = eqx.field(static=True)
    quantities: dict[str, tuple[Callable, float]]
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
        quantities: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        good_values: str = "",
    ):
        """**Arguments:**

        - `name`: the name in tables.
        - `problem`: a [`sobng.Problem`][], [`sobng.Energy`][] or [`sobng.Evolution`][].
        - `field`: a function from a key to a field, or `None` to let sobng choose.
        - `reference`: the exact or reference solution at one point; for an evolution
            `reference(t, x)`, at one time and point.
        - `observe`: what of the unknown the reference speaks of: `None` (all of it), a
            component or components, a key of a dict, a function `observe(value)` of
            the value, or `observe(u, x)`.
        - `solver`: a solver, or `None` for the default.
        - `options`: keywords for `solve`, or for `evolve`.
        - `accuracy`: the relative L2 error that counts as success, or where there is no
            reference that of every quantity.
        - `quantities`: numbers that a solution is judged by besides its field, by name: a
            function of the solution, and the exact value (an energy, an eigenvalue); errors
            are relative to it, or absolute where it is zero.
        - `tags`, `good_values`: for people and for lists.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not isinstance(problem, Problem | Energy | Evolution):
            raise ValueError(
                f"Case '{name}' needs a `Problem`, an `Energy` or an `Evolution`. Got "
                f"{problem!r}."
            )
        if field is not None and not callable(field):
            raise ValueError(
                f"The field of case '{name}' is a function from a key to a field, or "
                f"`None`. Got {field!r}."
            )
        for label, pair in ({} if quantities is None else quantities).items():
            if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[0])):
                raise ValueError(
                    f"The quantity '{label}' of case '{name}' is a pair: a function of "
                    f"the solution, and the exact value. Got {pair!r}."
                )
        self.name = name
        self.problem = problem
        self.field = field
        self.reference = reference
        self.observe = observe
        self.solver = solver
        self.options = {} if options is None else dict(options)
        self.accuracy = accuracy
        self.quantities = {} if quantities is None else dict(quantities)
        self.tags = tuple(tags)
        self.good_values = good_values

    def space_time(self, field: Callable | None = None, **options: Any) -> "Case":
        """The same case of an evolution as a problem in space-time, for `solve`.

        **Arguments:**

        - `field`: a function from a key to a field of points `(t, x)`.
        - `options`: keywords for `solve`.

        **Raises:** `ValueError` if the problem is no evolution.
        """
        if not isinstance(self.problem, Evolution):
            raise ValueError(
                f"Case '{self.name}' is no evolution. Got {type(self.problem).__name__}, "
                "which has no other route."
            )
        times = self.options.get("t0", 0.0), self.options.get("t1", 1.0)
        reference: Any = self.reference
        by_point = None if reference is None else lambda p: reference(p[0], p[1:])
        return Case(
            self.name,
            self.problem.space_time(*times),
            field,
            reference=by_point,
            observe=self.observe,
            options=options,
            accuracy=self.accuracy,
            tags=self.tags,
            good_values=self.good_values,
        )
