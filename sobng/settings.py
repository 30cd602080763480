"""What a user says of a run beside its mathematics."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sobng.io.checkpoint import as_checkpoint


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
        cls,
        *,
        max_steps,
        time_limit,
        tolerance,
        callbacks,
        progress,
        checkpoint,
        observe,
    ) -> "Settings":
        """Settings, or a `ValueError` that says which of them cannot be used."""
        if not (isinstance(max_steps, int) and max_steps >= 1):
            raise ValueError(
                f"`max_steps` is an integer of at least 1. Got {max_steps!r}."
            )
        if time_limit is not None and not _is_positive(time_limit):
            raise ValueError(
                f"`time_limit` is a positive number of seconds. Got {time_limit!r}."
            )
        if tolerance is not None and not _is_positive(tolerance):
            raise ValueError(f"`tolerance` is a positive number. Got {tolerance!r}.")
        for callback in (*callbacks, *(() if progress is None else (progress,))):
            if not callable(callback):
                raise ValueError(
                    "Callbacks and `progress` are functions of a record. Got "
                    f"{callback!r}."
                )
        listeners = (*callbacks, *(() if progress is None else (progress,)))
        return cls(
            max_steps,
            time_limit,
            tolerance,
            listeners,
            as_checkpoint(checkpoint),
            observe,
        )


def _is_positive(value: Any) -> bool:
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False
