"""A kernel of the user's own, from one function."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from sobng.kernels.kernel import AbstractKernel


class FunctionKernel(AbstractKernel):
    r"""A kernel from a function of two points.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn


        def brownian(x, y):
            return 1.0 + jnp.minimum(x[0], y[0])


        kernel = sn.FunctionKernel(brownian, smoothness=0)
        ```
    """

    function: Callable
    derivatives: float | int = eqx.field(static=True)

    def __init__(self, function: Any, *, smoothness: Any = math.inf):
        """**Arguments:**

        - `function`: a function of two points of shape `(dim,)`, symmetric and positive
            definite; an `eqx.Module` if it holds arrays.
        - `smoothness`: how many derivatives, in both points together, exist where the
            points coincide, and automatic differentiation finds them.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not callable(function):
            raise ValueError(
                f"`FunctionKernel` needs a function of two points. Got {function!r}."
            )
        if not smoothness >= 0:
            raise ValueError(
                "The smoothness of a kernel is a number of derivatives, at least 0. "
                f"Got {smoothness!r}."
            )
        self.function = function
        self.derivatives = smoothness

    def __call__(self, x, y):
        value = self.function(x, y)
        if jnp.shape(value):
            raise ValueError(
                "The function of a `FunctionKernel` returns a scalar for two points. "
                f"Got shape `{jnp.shape(value)}`."
            )
        return value

    def unscaled(self, x, y):
        return self(x, y)

    def smoothness(self, dim):
        del dim
        return self.derivatives

    def fitted(self, points):
        del points
        return self
