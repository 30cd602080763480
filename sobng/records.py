"""What callbacks and progress lines are told of a run."""

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from typing import TextIO

import numpy as np


@dataclasses.dataclass(frozen=True)
class Record:
    """One look at a running solve.

    `loss` and `held_out` are half the integral of the squared residual, on the points
    of the training and on points never used in it; `error` is the latest estimate of
    the relative L2 error or `None`. Seconds exclude compilation. `projection_error` is the
    part of the residual that no motion of the parameters takes away to first order: near
    one, more steps help little and a wider network may. [`sobng.GaussNewton`][] knows it
    at every step; for other solvers it is the value at the last power of two of steps. It
    is `None` (in a history NaN) for an energy, which has no residual: ask
    [`sobng.projection_error`][] afterwards; and beyond 500 parameters.
    """

    stage: str
    step: int
    loss: float
    held_out: float
    error: float | None
    seconds: float
    seconds_left: float | None
    damping: float
    accepted: bool
    projection_error: float | None


def history_of(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """The records as columns; NaN where a number is not known."""

    def column(name):
        values = [getattr(record, name) for record in records]
        return np.asarray([math.nan if v is None else v for v in values])

    names = ("step", "seconds", "loss", "held_out", "error", "projection_error")
    history = {name: column(name) for name in names}
    history["stage"] = np.asarray([record.stage for record in records])
    return history


class TextProgress:
    """A live line on a text stream: step, loss, held-out residual, error estimate.

    !!! example

        ```python
        import sys, sobng as sn

        sn.TextProgress(sys.stderr)
        ```
    """

    def __init__(self, file: TextIO | None = None, *, every: float = 0.2):
        """**Arguments:**

        - `file`: where to write, standard error by default.
        - `every`: the least seconds between two lines.
        """
        self.file = sys.stderr if file is None else file
        self.every = every
        self._last = 0.0
        self._live = self.file.isatty()

    def __call__(self, record: Record) -> None:
        """Shows a record, unless the last one was shown a moment ago."""
        now = time.monotonic()
        if now - self._last < (self.every if self._live else 10 * self.every):
            return
        self._last = now
        error = "    -    " if record.error is None else f"{record.error:9.2e}"
        left = (
            ""
            if record.seconds_left is None
            else f"  {record.seconds_left:5.1f} s left"
        )
        line = (
            f"{record.stage:<14} step {record.step:>6}  loss {record.loss:9.2e}  "
            f"held-out {record.held_out:9.2e}  error ~ {error}  "
            f"{record.seconds:6.1f} s{left}"
        )
        end = "\r" if self._live else "\n"
        print(line, end=end, file=self.file, flush=True)

    def close(self) -> None:
        """Leaves the last line on the screen."""
        if self._live:
            print(file=self.file, flush=True)
