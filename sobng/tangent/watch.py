"""The projection error along a run."""

import math
from typing import Any

from jaxtyping import PyTree

from sobng.problem import Energy
from sobng.records import Record
from sobng.system import System
from sobng.tangent.missed import residual_left


MAX_PARAMS = 500
"""Parameters beyond which it would cost more than the steps of a solver that does not
know it."""


def watched(
    known: float, system: System, params: PyTree, args: Any, last: Record | None, now
) -> float | None:
    """What the solver knows; if that is nothing, of the last step whose number was a power
    of two, or of the first look of a stage.

    **Arguments:**

    - `last`: the record before.
    - `now`: the stage and the step.
    """
    if not math.isnan(known):
        return known
    if isinstance(system.problem, Energy) or system.num_params > MAX_PARAMS:
        return None
    stage, step = now
    if (
        last is not None
        and last.stage == stage
        and last.step.bit_length() == step.bit_length()
    ):
        return last.projection_error
    missed = float(residual_left(system, args, params))
    return missed if math.isfinite(missed) else None
