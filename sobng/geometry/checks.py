"""What every constructor of this room refuses, in one sentence each."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Array, ArrayLike


Coordinates: TypeAlias = Sequence | np.ndarray | Array


def as_number(value: ArrayLike, owner: str, name: str) -> float:
    """`value` as a Python float. **Raises:** `ValueError` unless finite."""
    number = float(np.asarray(value))
    if not math.isfinite(number):
        raise ValueError(
            f"`{owner}` needs a finite `{name}`. Got {number}. "
            "Write a number that is neither NaN nor infinite."
        )
    return number


def as_point(values: Coordinates, owner: str, name: str) -> tuple[float, ...]:
    """`values` as a tuple of floats: hashable, so that domains can be static."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"`{owner}` needs `{name}` as a sequence of numbers, one per axis. "
            f"Got shape {array.shape}. In one dimension write `(0.0,)`, or use "
            "`Interval`."
        )
    return tuple(as_number(value, owner, name) for value in array)


def check_bounds(
    lower: tuple[float, ...], upper: tuple[float, ...], owner: str
) -> None:
    """**Raises:** `ValueError` unless `lower < upper` on every axis."""
    if len(lower) != len(upper):
        raise ValueError(
            f"`{owner}` needs `lower` and `upper` of the same length. "
            f"Got {len(lower)} and {len(upper)} numbers. Give one pair per axis."
        )
    for axis, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if not low < high:
            raise ValueError(
                f"`{owner}` is empty along axis {axis}: `lower` must be below "
                f"`upper`. Got {low} and {high}. Swap or correct them."
            )


def check_radius(radius: float, owner: str) -> None:
    """**Raises:** `ValueError` unless `radius > 0`."""
    if not radius > 0:
        raise ValueError(
            f"`{owner}` needs a positive radius. Got {radius}. "
            "Write a number above zero."
        )


def check_num(num: int, owner: str) -> None:
    """**Raises:** `ValueError` unless `num >= 1`."""
    if num < 1:
        raise ValueError(
            f"`{owner}` needs at least one point. Got num = {num}. Write `num >= 1`."
        )
