"""The slope of a loss, and what it falls by along a step, as precisely as is known."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from sobng.metrics.strong import StrongForm
from sobng.system import System


HIDDEN = 2 / 3
"""The power of the precision below which a relative decrease is not a difference."""

AGREE = 1e-5
"""How far, in parts of what cancels, the two forms of a slope may differ: by rounding and
by quadrature. A form that differs more is of another loss, or on too few points."""


class Slope(eqx.Module):
    """The first derivative of a loss, at given parameters and along steps from there."""

    loss: Callable[[Float[Array, " params"]], Float[Array, ""]]
    flat: Float[Array, " params"]
    unravel: Callable[[Float[Array, " params"]], PyTree]
    args: Any
    gradient: Float[Array, " params"]
    strong: StrongForm | None
    is_strong: Bool[Array, ""]

    def __init__(self, loss, params: PyTree, args: Any, system: System | None):
        """**Arguments:**

        - `loss`: a function of the parameters in one vector.
        - `system`: where it is known; its energy has a form that cancels less.
        """
        self.loss = loss
        self.flat, self.unravel = jfu.ravel_pytree(params)
        self.args = args
        weak = jax.grad(loss)(self.flat)
        self.strong, self.gradient, self.is_strong = None, weak, jnp.zeros((), bool)
        if system is not None and StrongForm.is_possible(system, args):
            self.strong = StrongForm(system)
            other, size = self.strong.gradient(params, args)
            self.is_strong = jnp.linalg.norm(weak - other) <= AGREE * size
            self.gradient = jnp.where(self.is_strong, other, weak)

    def along(self, node, step: Float[Array, " params"]) -> Float[Array, ""]:
        """The slope in the direction of a step, part of the way."""
        there = self.flat + node * step

        def weak():
            return jax.jvp(self.loss, (there,), (step,))[1]

        if self.strong is None:
            return weak()
        strong, direction = self.strong, self.unravel(step)
        return jax.lax.cond(
            self.is_strong,
            lambda: strong.along(self.unravel(there), direction, self.args),
            weak,
        )

    def decrease(self, step: Float[Array, " params"], before, after):
        r"""What the loss falls by along a step, also where its rounding hides it.

        There it is the integral of the slope, $-\int_0^1 \ell'(y + t d)\,d\,\mathrm dt$,
        whose rounding shrinks with the step. Elsewhere the loss may turn more than Gauss's
        three points can tell, and the difference is accurate.
        """
        nodes, weights = np.polynomial.legendre.leggauss(3)
        nodes, weights = (
            jnp.asarray(a, step.dtype) for a in ((nodes + 1) / 2, weights)
        )
        difference = before - after
        scale = jnp.maximum(jnp.abs(before), jnp.abs(after))
        hidden = jnp.abs(difference) <= jnp.finfo(step.dtype).eps ** HIDDEN * scale

        def integral():
            slopes = jax.lax.map(lambda node: self.along(node, step), nodes)
            return -jnp.sum(weights * slopes) / 2

        return jax.lax.cond(hidden, integral, lambda: difference)
