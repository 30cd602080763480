"""Metrics that see a function point by point."""

from collections.abc import Callable
from typing import Any

import equinox as eqx

from sobng.metrics.gram import Pullback
from sobng.metrics.metric import AbstractMetric, interior


class LocalMetric(AbstractMetric):
    r"""A metric of your own, from one function of one point.

    With $q(u)(x)$ the numbers that the function returns, and motions $v, w$ of the field,

    $$G(v, w) = \int_\Omega (Dq(u)\,v) \cdot (Dq(u)\,w),$$

    by the quadrature of the system's interior points: the metric in which the map
    $u \mapsto q(u)$ into $L^2$ is an isometry.

    !!! example

        ```python
        import jax.numpy as jnp, sobng as sn


        def slope_and_value(u, x, args):
            return jnp.stack([u(x), 0.1 * sn.partial(u, 0)(x)])


        sn.NaturalGradient(metric=sn.LocalMetric(slope_and_value))
        ```
    """

    function: Callable = eqx.field(static=True)

    def __init__(self, function: Any):
        """**Arguments:**

        - `function`: `function(u, x, args)` at one point `x`, a scalar or a vector; `u`
            is the unknown as the conditions of the problem see it.

        **Raises:** `ValueError` if it is not callable.
        """
        if not callable(function):
            raise ValueError(
                f"`LocalMetric` needs a function `function(u, x, args)`. Got {function!r}."
            )
        self.function = function

    def on(self, system, entry=None):
        return Pullback(system, self.function, *interior(system), entry=entry)
