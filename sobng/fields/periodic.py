"""Fields that are periodic along some axes, exactly."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.fields.field import AbstractField, mark, sizes_of
from sobng.fields.partition import linear_leaves, with_bandwidth
from sobng.fields.scaled import UnitCell
from sobng.typing import Point, Value


class PeriodicEmbedding(AbstractField):
    r"""A field that is periodic along some axes, with all its derivatives.

    Behind it a field sees the other coordinates, mapped to $[-1, 1]$, then
    $\cos(2\pi x_i / L_i)$ of each periodic axis, then the sines.

    Data whose periodic extension has a kink cannot be fitted this way: impose such
    boundaries by value.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        inner = sn.MLP(3, key=jax.random.key(0))                # t, cosine, sine
        field = sn.PeriodicEmbedding(inner, {1: 2.0}, bounds={0: (0.0, 1.0)})
        field(jnp.array([0.5, -1.0])) - field(jnp.array([0.5, 1.0]))     # 0
        ```

    ??? cite "Reference"

        Dong, Ni: A method for representing periodic functions and enforcing exactly
        periodic boundary conditions with deep neural networks (J. Comput. Phys. 2021,
        arXiv 2007.07442).
    """

    field: PyTree
    cell: UnitCell  # one period of the periodic axes, the ranges of the others
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    periodic: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        field: Callable,
        periods: Mapping[int, float],
        *,
        bounds: Mapping[int, tuple[float, float]] | None = None,
        dim: int | None = None,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `field`: a field of the embedded point, with one coordinate more for each
          periodic axis.
        - `periods`: by axis, the period.

        **Other arguments:**

        - `bounds`: by axis that is not periodic, its range, which is mapped to
          `[-1, 1]`. Axes left out are passed on as they are.
        - `dim`: coordinates of a point, for a field that is not one of sobng's.
        - `dtype`: the precision of periods and bounds; by default the session's.

        **Raises:** `ValueError` if a period is not positive, an axis does not exist, or
        a range is empty.
        """
        inner = None if dim is None else dim + len(periods)
        embedded, self.out = sizes_of("PeriodicEmbedding", field, inner)
        self.field = field
        self.dim = embedded - len(periods)
        self.periodic = tuple(sorted(periods))
        bounds = {} if bounds is None else bounds
        _check(self.dim, periods, bounds)
        halves = {axis: length / 2 for axis, length in periods.items()}
        ranges = {axis: (-half, half) for axis, half in halves.items()} | dict(bounds)
        limits = np.asarray([ranges.get(axis, (-1.0, 1.0)) for axis in range(self.dim)])
        self.cell = UnitCell(limits[:, 0], limits[:, 1], dtype=dtype)

    def __call__(self, x: Point) -> Value:
        return self.field(self.embed(x))

    def embed(self, x: Point) -> Float[Array, " embedded"]:
        """The point that the field behind sees."""
        z = self.cell(x)
        free = [axis for axis in range(self.dim) if axis not in self.periodic]
        angle = jnp.pi * z[np.asarray(self.periodic)]
        others = z[np.asarray(free, int)]
        return jnp.concatenate([others, jnp.cos(angle), jnp.sin(angle)])

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda p: p.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "PeriodicEmbedding":
        """The same with `scale` times the bandwidth of the field behind."""
        return eqx.tree_at(lambda p: p.field, self, with_bandwidth(self.field, scale))


def _check(dim: int, periods: Mapping[int, float], bounds: Mapping[int, tuple]) -> None:
    if len(periods) == 0 or not all(
        0 <= axis < dim and np.isfinite(length) and length > 0
        for axis, length in periods.items()
    ):
        raise ValueError(
            f"`PeriodicEmbedding` needs positive periods by axis of a point with {dim} "
            f"coordinates. Got `{dict(periods)}`. The field behind needs one "
            "coordinate more for each periodic axis."
        )
    for axis, (lower, upper) in bounds.items():
        if axis in periods or not 0 <= axis < dim or not lower < upper:
            raise ValueError(
                "`PeriodicEmbedding` maps ranges of axes that are not periodic. Got "
                f"axis {axis} from {lower} to {upper}. Give `lower < upper`, and no "
                "range to periodic axes."
            )
