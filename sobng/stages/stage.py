"""The interface of the stages: what moves next, with which solver, until when."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from sobng.collocation import Collocation
from sobng.problem import Energy, Problem


GOOD = 1e-6
"""The error of a linear stage that is not trained further."""


class Context(eqx.Module):
    """What a stage is given to decide with; stages return new unknowns, never change it.

    `error` is the latest estimate of the relative L2 error, `None` if there is none.
    """

    problem: Problem | Energy
    unknown: PyTree
    args: Any
    training: Collocation
    held_out: Collocation
    key: jax.Array
    tolerance: float
    asked: bool
    """Whether the tolerance is the user's, or the least that the precision allows."""
    error: float | None
    residual: float | None
    """Where no estimate may be had: the held-out residual of the unknown over that of a
    field which is zero."""
    owned: bool
    """Whether sobng chose the field, and so may enlarge it."""
    done: tuple[str, ...] = eqx.field(static=True)
    """The names of the stages that were entered before."""
    points: Callable[[Any], tuple[Collocation, Collocation]] = eqx.field(static=True)
    """Points for training and held-out ones, dense where a grading stretches."""
    out_of_time: Callable[[], bool] = eqx.field(static=True)
    """Whether the time limit is over; asked by a `begin` that tries several things."""


def settled(context: Context, goal: float) -> bool:
    """Whether the unknown is known to be good enough: as the user asked, or as `goal`."""
    goal = context.tolerance if context.asked else max(context.tolerance, goal)
    if context.error is not None:
        return context.error <= goal
    # A residual is no error, so that it answers nobody who asked for one.
    if context.asked or context.residual is None:
        return False
    return context.residual <= goal


class AbstractStage(eqx.Module):
    """One stage of a strategy.

    The driver asks `wanted`, lets `prepare` and `begin` work on the host, and then
    moves the leaves of `moves` with `solver` until it ends or `max_steps` are done.
    Four attributes are asked for where a stage has them: `fresh`, the number of steps
    after which points are drawn anew; `follows`, whether they are drawn about the field;
    `marches`, whether steps solve for parts in turn, so that their losses are not compared;
    `share`, the least number of rows for each number of the unknown.
    """

    name: eqx.AbstractVar[str]
    max_steps: eqx.AbstractVar[int | None]
    patience: eqx.AbstractVar[int]
    """The stage ends when its loss has not halved in so many steps."""

    @abc.abstractmethod
    def wanted(self, context: Context) -> bool:
        """Whether this stage can help."""

    @abc.abstractmethod
    def prepare(self, context: Context) -> PyTree:
        """The unknown of the structure that this stage works on: enlarged, or as it was.

        Cheap, for a run that resumes repeats it and then fills in the saved arrays.
        """

    @abc.abstractmethod
    def begin(self, context: Context) -> PyTree:
        """The prepared unknown with the arrays to start from: rescaled, or as it was."""

    @abc.abstractmethod
    def moves(self, context: Context) -> PyTree | None:
        """Which leaves of the unknown move, as booleans; `None` for all."""

    @abc.abstractmethod
    def solver(self, context: Context) -> Any:
        """A solver of sobng, Optimistix or Optax."""
