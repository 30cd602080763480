"""A field in coordinates that follow fronts."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.field import AbstractField, first_of, mark, sizes_on
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.geometry.stretching import Stretching
from sobng.typing import Point, Value


class Stretched(AbstractField):
    r"""A field in coordinates that follow fronts: $(t, x) \mapsto f(\tau, s(t, x))$.

    !!! example

        ```python
        import jax
        import numpy as np
        import sobng as sn

        stretching = sn.Stretching((0.0, 0.0), (1.0, 1.0), np.ones((17, 17)))
        field = sn.Stretched(sn.MLP(2, key=jax.random.key(0)), stretching)
        field(jax.numpy.array([0.5, 0.5]))
        ```
    """

    field: PyTree
    data: Frozen
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, field: Callable, stretching: Stretching):
        """**Arguments:**

        - `field`: a field on the unit cell.
        - `stretching`: the coordinates; not trained.

        **Raises:** `ValueError` unless the field has two coordinates.
        """
        self.field = field
        self.data = Frozen(jax.tree.map(jnp.asarray, stretching))
        self.dim, self.out = sizes_on("Stretched", field, 2, "a stretching")

    @property
    def stretching(self) -> Stretching:
        """The coordinates."""
        return self.data.value

    def __call__(self, x: Point) -> Value:
        return self.field(self.stretching(x))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda s: s.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "Stretched":
        """The same with `scale` times the bandwidth of the field inside."""
        return eqx.tree_at(lambda s: s.field, self, with_bandwidth(self.field, scale))


def stretching_of(unknown: PyTree) -> Stretching | None:
    """The first stretching in an unknown, `None` if there is none."""
    found = first_of(unknown, Stretched)
    return None if found is None else found.stretching
