"""Geometry that runs twice: traced at one point, and on the host at many.

Rules and set operations ask many points on the host where they lie, in float64 even
where JAX has none, and possibly while something else is being traced. So the formulas
behind `distance` and `normal` take the array module: `jax.numpy` with one point
`[dim]`, or `numpy` with many `[n, dim]`.
"""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float


Module: TypeAlias = ModuleType
Coords: TypeAlias = Float[Array | np.ndarray, "*many dim"]
Values: TypeAlias = Float[Array | np.ndarray | np.floating, "*many"]


def constant(values: Any, x: Coords, xp: Module) -> Float[Array | np.ndarray, "..."]:
    """Static numbers as an array of the dtype of `x`."""
    return xp.asarray(np.asarray(values, dtype=np.float64), dtype=x.dtype)


def safe_root(squares: Any, xp: Module) -> Any:
    """The square root, with derivative zero instead of infinity at zero."""
    positive = squares > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, squares, 1.0)), 0.0)
