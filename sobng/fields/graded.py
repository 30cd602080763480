"""A field in coordinates that stretch thin layers at the walls."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.fields.field import AbstractField, first_of, mark, sizes_on
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.geometry.grading import Grading
from sobng.typing import Point, Value


class Graded(AbstractField):
    r"""A field in stretched coordinates: $x \mapsto f(s(x))$ with $s$ onto $[-1, 1]^d$.

    `solve` makes its points dense where this stretches.

    !!! example

        ```python
        import jax
        import sobng as sn

        inner = sn.MLP(1, key=jax.random.key(0))
        field = sn.Graded(inner, sn.Grading((0.0,), (1.0,), (1e-3,)))
        ```
    """

    field: PyTree
    data: Frozen
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, field: Callable, grading: Grading):
        """**Arguments:**

        - `field`: a field on the unit cell.
        - `grading`: the stretched coordinates; not trained.

        **Raises:** `ValueError` if they are not as many as the field's.
        """
        self.field = field
        # Arrays of JAX, so that another grading compiles nothing.
        self.data = Frozen(jax.tree.map(jnp.asarray, grading))
        num = np.size(grading.widths)
        self.dim, self.out = sizes_on("Graded", field, num, "a grading")

    @property
    def grading(self) -> Grading:
        """The stretched coordinates."""
        return self.data.value

    def __call__(self, x: Point) -> Value:
        return self.field(self.grading(x))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda g: g.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "Graded":
        """The same with `scale` times the bandwidth of the field inside."""
        field = with_bandwidth(self.field, scale)
        return eqx.tree_at(lambda g: g.field, self, field)


def grading_of(unknown: PyTree) -> Grading | None:
    """The first grading in an unknown, `None` if there is none."""
    found = first_of(unknown, Graded)
    return None if found is None else found.grading


def with_grading(unknown: PyTree, grading: Grading) -> PyTree:
    """The unknown with another grading in every graded field."""
    value = jax.tree.map(jnp.asarray, grading)

    def one(node):
        if not isinstance(node, Graded):
            return node
        return eqx.tree_at(lambda g: g.data.value, node, value)

    return jax.tree.map(one, unknown, is_leaf=lambda node: isinstance(node, Graded))
