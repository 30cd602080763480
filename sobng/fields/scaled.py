"""Physical coordinates to the unit cell [-1, 1]^d, where fields are initialised."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.fields.field import AbstractField, as_float, first_of, mark, sizes_on
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.typing import Point, Value


class UnitCell(eqx.Module):
    """The affine map of a box to `[-1, 1]^dim`; its arrays are not trained.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        sn.UnitCell((0.0, 0.0), (1.0, 2.0))(jnp.array([0.5, 2.0]))    # [0, 1]
        ```
    """

    lower: Frozen
    upper: Frozen

    def __init__(self, lower: Any, upper: Any, *, dtype: Any = None):
        """**Arguments:**

        - `lower`, `upper`: opposite corners of the box.
        - `dtype`: the precision; by default the session's.

        **Raises:** `ValueError` unless the corners are finite and in order.
        """
        lower, upper = np.asarray(lower), np.asarray(upper)
        ordered = lower.ndim == 1 and lower.shape == upper.shape
        if not (
            ordered and np.all(np.isfinite(upper - lower)) and np.all(lower < upper)
        ):
            raise ValueError(
                "A box needs finite corners with `lower < upper` on every axis. Got "
                f"`lower={lower}`, `upper={upper}`. Take them from `domain.bounds`."
            )
        self.lower = Frozen(as_float(lower, dtype))
        self.upper = Frozen(as_float(upper, dtype))

    def __call__(self, x: Point) -> Point:
        """Maps a point of the box to the unit cell."""
        centre = (self.upper.value + self.lower.value) / 2
        half = (self.upper.value - self.lower.value) / 2
        if jnp.issubdtype(x.dtype, jnp.inexact):
            # A cell in the session's precision does not decide on that of the field.
            centre, half = centre.astype(x.dtype), half.astype(x.dtype)
        return (x - centre) / half


def cell_of(domain: Any, name: str, dim: int, dtype: Any) -> UnitCell | None:
    """The cell of a domain's bounding box, `None` without a domain."""
    if domain is None:
        return None
    lower, upper = domain.bounds
    if len(lower) != dim:
        raise ValueError(
            f"`{name}` takes points with {dim} coordinates. Got a domain with "
            f"{len(lower)}. Make `dim` and `domain` agree, time included."
        )
    return UnitCell(lower, upper, dtype=dtype)


def has_cell(unknown: PyTree) -> bool:
    """Whether a field, or a part of it, is in physical coordinates already."""
    return first_of(unknown, UnitCell) is not None


class Scaled(AbstractField):
    r"""A field in physical coordinates: $x \mapsto f(s(x))$ with $s$ onto $[-1, 1]^d$.

    Fields are initialised for the unit cell; this maps a box to it.

    !!! example

        ```python
        import jax
        import sobng as sn

        inner = sn.MLP(2, key=jax.random.key(0))
        field = sn.Scaled(inner, (0.0, 0.0), (1.0, 5.0))
        ```
    """

    field: PyTree
    cell: UnitCell
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, field: Callable, lower: Any, upper: Any, *, dtype: Any = None):
        """**Arguments:**

        - `field`: a field on the unit cell.
        - `lower`, `upper`: opposite corners of the box in physical coordinates.
        - `dtype`: the precision of the corners; by default the session's.

        **Raises:** `ValueError` unless the corners are finite, in order, and fit the
        field.
        """
        self.field = field
        self.cell = UnitCell(lower, upper, dtype=dtype)
        num = int(np.size(np.asarray(lower)))
        self.dim, self.out = sizes_on("Scaled", field, num, "a box")

    def __call__(self, x: Point) -> Value:
        return self.field(self.cell(x))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda s: s.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "Scaled":
        """The same with `scale` times the bandwidth of the field inside."""
        field = with_bandwidth(self.field, scale)
        return eqx.tree_at(lambda s: s.field, self, field)
