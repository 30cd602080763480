"""Pictures of solutions and of runs."""

from typing import Any


def plot_solution(
    field: Any,
    domain: Any,
    reference: Any = None,
    *,
    observe: Any = None,
    path: Any = None,
) -> Any:
    """A figure of a field, and of its pointwise error if there is a reference."""
    raise NotImplementedError
