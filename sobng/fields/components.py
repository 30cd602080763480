"""A vector function from one function for each component."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.typing import Point


class Components(eqx.Module):
    """Stacks functions and constants into a vector function.

    As lift or factor of a vector field, where conditions hold some components only: a
    component left free has the lift `0` and the factor `1`.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        factor = sn.Components([lambda x: x[0] * (1 - x[0]), 1.0])
        factor(jnp.array([0.5, 0.2]))    # [0.25, 1]
        ```
    """

    parts: tuple[Any, ...]

    def __init__(self, parts: Sequence[Any]):
        """**Arguments:**

        - `parts`: for each component a scalar function of one point, or a number.

        **Raises:** `ValueError` without a component.
        """
        self.parts = tuple(parts)
        if len(self.parts) == 0:
            raise ValueError(
                "`Components` needs at least one component. Got none. Give a function "
                "or a number for each."
            )

    def __call__(self, x: Point) -> Float[Array, " out"]:
        values = [part(x) if callable(part) else part for part in self.parts]
        return jnp.stack([jnp.asarray(value, x.dtype) for value in values])
