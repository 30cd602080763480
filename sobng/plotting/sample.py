"""Values of a field where a picture shows it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobng.evaluation import float_dtype, observed, unknown_of, values_at
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.spacetime import SpaceTime
from sobng.typing import PointFunction


_NUM_LINE = 401
_NUM_GRID = 161  # an odd number, so that the centre is seen
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Values on a line or on a grid, with what the axes mean."""

    axes: list[tuple[str, np.ndarray]]  # a label and ticks
    values: Float[np.ndarray, "n components"]
    errors: Float[np.ndarray, "n components"] | None
    distances: Float[np.ndarray, " n"]  # to the boundary, negative outside
    scalar: bool
    equal: bool  # whether the axes have one unit
    where: str  # in words, the plane that is seen

    def lengths(self) -> "Sample":
        """The same with the Euclidean lengths of values and errors."""
        if self.scalar:
            return self
        errors = None if self.errors is None else _length(self.errors)
        return dataclasses.replace(self, values=_length(self.values), errors=errors)


def _length(rows: Float[np.ndarray, "n components"]) -> Float[np.ndarray, "n one"]:
    return np.linalg.norm(rows, axis=1, keepdims=True)


def take_sample(
    field: Any, domain: AbstractDomain, reference: PointFunction | None, observe: Any
) -> Sample:
    unknown, look = unknown_of(field), observed(observe)
    chosen = _chosen_axes(domain)
    lower, upper = domain.bounds
    num = _NUM_LINE if len(chosen) == 1 else _NUM_GRID
    ticks = [np.linspace(lower[a], upper[a], num) for a in chosen]
    grid = np.meshgrid(*ticks, indexing="ij")
    points = np.tile((lower + upper) / 2, (grid[0].size, 1))
    for axis, values in zip(chosen, grid, strict=True):
        points[:, axis] = values.ravel()
    distances = np.asarray(domain.signed(points, np))
    # A field means nothing far outside; a rim is kept for smooth edges.
    rim = 2.0 * max(float(t[1] - t[0]) for t in ticks)
    kept = distances > -rim
    rounded = jnp.asarray(points[kept], float_dtype(unknown))
    found = values_at(lambda x: look(unknown, x), rounded)
    scalar = found.ndim == 1
    values = _spread(found, kept)
    errors = None
    if reference is not None:
        wanted = values_at(reference, rounded.astype(jnp.result_type(float)))
        if wanted.shape != found.shape:
            raise ValueError(
                f"The field gives values of shape {found.shape[1:]} and the reference "
                f"of shape {wanted.shape[1:]}. Choose what to draw with `observe=`."
            )
        errors = _spread(np.abs(found - wanted), kept)
    names = _axis_names(domain)
    rest = [a for a in range(domain.dim) if a not in chosen]
    where = ", ".join(f"{names[a]} = {points[0, a]:.3g}" for a in rest[:3])
    where += ", …" if len(rest) > 3 else ""
    axes = [(names[a], t) for a, t in zip(chosen, ticks, strict=True)]
    equal = not (isinstance(domain, SpaceTime) and 0 in chosen)
    return Sample(axes, values, errors, distances, scalar, equal, where)


def _spread(rows: np.ndarray, kept: np.ndarray) -> Float[np.ndarray, "n components"]:
    """Values at the points that were kept, NaN at the others."""
    rows = rows.reshape(len(rows), -1)
    full = np.full((len(kept), rows.shape[1]), np.nan)
    full[kept] = rows
    return full


def _chosen_axes(domain: AbstractDomain) -> tuple[int, ...]:
    if domain.dim <= 2:
        return tuple(range(domain.dim))
    return (1, 2) if isinstance(domain, SpaceTime) else (0, 1)


def _axis_names(domain: AbstractDomain) -> list[str]:
    time = ["t"] if isinstance(domain, SpaceTime) else []
    dim = domain.dim - len(time)
    space = ["x", "y", "z"][:dim] if dim <= 3 else []
    space = space or [subscript("x", i + 1) for i in range(dim)]
    return time + space


def subscript(name: str, index: int) -> str:
    """A name with a lowered index."""
    return name + str(index).translate(_SUBSCRIPTS)
