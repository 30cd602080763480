"""Which damping, which step: the interface of the searches."""

import abc
from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree

from sobng.linalg.spectrum import AbstractModel


State = TypeVar("State")


class Trial(eqx.Module):
    """A candidate: where it leads and what it brings."""

    step: Float[Array, " params"]
    decrease: Float[Array, ""]
    """True decrease of the loss, free of cancellation where the loss allows it."""
    payload: PyTree
    """What was computed on the way and is needed again if the step is accepted."""


class Outcome(eqx.Module, Generic[State]):
    """What a search decided."""

    trial: Trial
    accepted: Bool[Array, ""]
    stalled: Bool[Array, ""]
    """No step that is worth taking is left: the iteration has ended."""
    damping: Float[Array, ""]
    ratio: Float[Array, ""]
    """True over predicted decrease of the accepted step."""
    state: State


class AbstractSearch(eqx.Module, Generic[State]):
    """Takes the factorised model and the loss, gives back an accepted step.

    One step of a solver is one factorisation and one call of a search.
    """

    @abc.abstractmethod
    def init(self, dtype) -> State:
        """The state before the first step."""

    @abc.abstractmethod
    def search(
        self,
        model: AbstractModel,
        trial: Callable[[Float[Array, " params"]], Trial],
        state: State,
    ) -> Outcome:
        """Chooses a step.

        **Arguments:**

        - `model`: the factorised quadratic model at the current parameters.
        - `trial`: evaluates the loss after a step; the search decides how often.
        - `state`: from the last step.
        """
