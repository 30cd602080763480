"""A field that obeys conditions exactly."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from sobng.fields.field import AbstractField, mark, sizes_of
from sobng.fields.partition import Frozen, linear_leaves, with_bandwidth
from sobng.typing import Point, Value


class Constrained(AbstractField):
    r"""The field $u = g + \varphi f$ with exact values where $\varphi = 0$.

    The lift $g$ extends boundary values into the domain and the factor $\varphi$
    vanishes where they hold, so that they hold for every $f$.

    !!! example

        ```python
        import jax
        import sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        field = sn.Constrained(
            sn.MLP(2, key=jax.random.key(0)),
            lift=None,
            factor=square.boundary.factor,
            satisfies=("wall",),
        )
        field(jax.numpy.array([0.0, 0.3]))    # 0
        ```

    ??? cite "Reference"

        Sukumar, Srivastava: Exact imposition of boundary conditions with distance
        functions in physics-informed deep neural networks (CMAME 2022, arXiv
        2104.08426).
    """

    field: PyTree
    data: Frozen  # lift and factor: a domain's own arrays are not to be trained
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    satisfies: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        field: Callable,
        lift: Callable[[Point], Any] | None,
        factor: Callable[[Point], Any],
        satisfies: Sequence[str] = (),
        dim: int | None = None,
    ):
        """**Arguments:**

        - `field`: a field, or any module that maps a point to a value.
        - `lift`: the boundary values, extended; `None` for zero. Never trained.
        - `factor`: vanishes where the values are given, for example `region.factor`.
          Never trained. For vector fields `lift` and `factor` may return one number for
          each component: `0` and `1` leave a component free.
        - `satisfies`: the names of the conditions that now hold exactly.
        - `dim`: coordinates of a point, for a field that is not one of sobng's.

        **Raises:** `ValueError` at the call if factor or lift do not fit the
        components.
        """
        self.field = field
        self.data = Frozen((lift, factor))
        self.dim, self.out = sizes_of("Constrained", field, dim)
        self.satisfies = (
            (satisfies,) if isinstance(satisfies, str) else tuple(satisfies)
        )

    @property
    def lift(self) -> Callable[[Point], Any] | None:
        """The boundary values, extended; `None` for zero."""
        return self.data.value[0]

    @property
    def factor(self) -> Callable[[Point], Any]:
        """The function that vanishes where the values are given."""
        return self.data.value[1]

    def __call__(self, x: Point) -> Value:
        value = self.field(x)
        value = value * _fit("factor", self.factor(x), value)
        return value if self.lift is None else value + _fit("lift", self.lift(x), value)

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda c: c.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "Constrained":
        """The same with `scale` times the bandwidth of the field inside."""
        return eqx.tree_at(lambda c: c.field, self, with_bandwidth(self.field, scale))


def _fit(name: str, data: Any, value: Array) -> Array:
    """Data in the precision of the field, scalar or one for each component."""
    data = jnp.asarray(data, value.dtype)
    if data.shape not in ((), value.shape):
        raise ValueError(
            f"`Constrained` needs a {name} with values of shape `()` or "
            f"`{value.shape}`. Got `{data.shape}`. Give one number, or one for each "
            "component."
        )
    return data
