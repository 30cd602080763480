"""The host loop of `solve`: stages, steps, limits, records."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import PyTree

from sobng.clock import Clock
from sobng.collocation import PointPlan
from sobng.error import estimate_error, NO_ESTIMATE
from sobng.problem import Energy, Problem
from sobng.records import Record
from sobng.results import RESULTS
from sobng.solvers.adaptor import adapt, steps_per_call
from sobng.stages.stage import AbstractStage, Context
from sobng.system import System


OVERFIT = 30.0
"""Held-out over training loss (both integrals) above which points are added."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keywords of `solve` that are not mathematics."""

    max_steps: int
    time_limit: float | None
    tolerance: float | None
    callbacks: tuple[Callable, ...]
    checkpoint: Any
    observe: Any

    @classmethod
    def checked(
        cls, *, max_steps, time_limit, tolerance, callbacks, progress, checkpoint, observe
    ) -> "Settings":
        """Settings, or a `ValueError` that says which of them cannot be used."""
        if not (isinstance(max_steps, int) and max_steps >= 1):
            raise ValueError(f"`max_steps` is an integer of at least 1. Got {max_steps!r}.")
        if time_limit is not None and not time_limit > 0:
            raise ValueError(
                f"`time_limit` is a positive number of seconds. Got {time_limit!r}."
            )
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"`tolerance` is a positive number. Got {tolerance!r}.")
        for callback in (*callbacks, *(() if progress is None else (progress,))):
            if not callable(callback):
                raise ValueError(
                    "Callbacks and `progress` are functions of a record. Got "
                    f"{callback!r}."
                )
        listeners = (*callbacks, *(() if progress is None else (progress,)))
        return cls(max_steps, time_limit, tolerance, listeners, checkpoint, observe)


def reachable(dtype) -> float:
    """The least relative error that a precision allows to ask for."""
    return 10 * float(jnp.finfo(dtype).eps)
