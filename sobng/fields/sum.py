"""A sum of fields: stages that correct one another."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from sobng.fields.field import AbstractField, mark, sizes_of
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.typing import Point, Value


class Sum(AbstractField):
    r"""The sum $u(x) = \sum_k u_k(x)$ of fields, or stages.

    A later stage corrects what the earlier ones leave. Wrap a stage in
    [`sobng.Frozen`][] to keep it as it is.

    !!! example

        ```python
        import jax
        import sobng as sn

        first = sn.MLP(2, key=jax.random.key(0))
        second = sn.MLP(2, key=jax.random.key(1))
        field = sn.Sum([sn.Frozen(first), second])
        ```

    ??? cite "Reference"

        Wang, Lai: Multi-stage neural networks (J. Comput. Phys. 2024, arXiv
        2307.08934).
    """

    fields: tuple[PyTree, ...]
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, fields: Sequence[Any]):
        """**Arguments:**

        - `fields`: fields of the same points with as many components each; a frozen one
          is `Frozen(field)`.

        **Raises:** `ValueError` without a field, or if they do not fit together.
        """
        self.fields = tuple(fields)
        if len(self.fields) == 0:
            raise ValueError(
                "`Sum` needs at least one field. Got none. Give a list of fields."
            )
        sizes = [sizes_of("Sum", _thaw(field)) for field in self.fields]
        if len(set(sizes)) > 1:
            raise ValueError(
                "`Sum` needs fields with the same `dim` and `out`. Got "
                f"`(dim, out)` in `{sizes}`. Make the stages alike."
            )
        self.dim, self.out = sizes[0]

    def __call__(self, x: Point) -> Value:
        value = _thaw(self.fields[0])(x)
        for field in self.fields[1:]:
            value = value + _thaw(field)(x)
        return value

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda s: s.fields, linear_leaves(self.fields))

    def rescaled(self, scale: Any) -> "Sum":
        """The same with `scale` times the bandwidth of the stages that move."""
        return eqx.tree_at(lambda s: s.fields, self, with_bandwidth(self.fields, scale))


def _thaw(field: Any) -> Any:
    return field.value if isinstance(field, Frozen) else field
