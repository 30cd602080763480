"""Binds a solver to a system: its rows, and its metric on the points."""

from typing import Any, TypeVar

import equinox as eqx

from sobng.metrics.euclidean import EuclideanMetric
from sobng.metrics.gram import AbstractGram
from sobng.problem import Energy
from sobng.system import System


Solver = TypeVar("Solver")


def bound(solver: Solver, system: System) -> Solver:
    """The same solver with `system` and `gram`, which depends on its points."""
    ours: Any = solver
    return eqx.tree_at(
        lambda s: (s.system, s.gram),
        ours,
        (system, ours.metric.on(system)),
        is_leaf=lambda leaf: leaf is None or isinstance(leaf, System | AbstractGram),
    )


def check_squares(solver: Any, system: System) -> None:
    """Raises `ValueError` if a least-squares solver is given an energy."""
    if isinstance(system.problem, Energy):
        raise ValueError(
            f"`{type(solver).__name__}` needs a sum of squares, and an energy is none. "
            "Use `sobng.NaturalGradient()`."
        )


def gram_of(solver: Any) -> AbstractGram | None:
    """The Gram matrix of a solver's metric; `None` for the identity.

    **Raises:** `ValueError` if the metric needs points and the solver is not bound.
    """
    if solver.system is None and not isinstance(solver.metric, EuclideanMetric):
        raise ValueError(
            f"`{type(solver.metric).__name__}` lives on the points of a system, and "
            "this solver is not bound to one. Write `solver.on(system)`, or use "
            "`sobng.EuclideanMetric()`."
        )
    return solver.gram
