"""What a person wants to see of a step."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class StepInfo(eqx.Module):
    """One step of a solver, for progress lines and histories; no solver needs it."""

    loss: Float[Array, ""]
    gradient: Float[Array, ""]
    damping: Float[Array, ""]
    ratio: Float[Array, ""]
    length: Float[Array, ""]
    accepted: Bool[Array, ""]
    projection_error: Float[Array, ""]
    """The part of the functional gradient that the tangent space cannot express, before
    the step, in the metric that the equation induces; NaN where it is not known."""

    @classmethod
    def start(cls, loss):
        """Before the first step."""
        zero = jnp.zeros_like(loss)
        unknown = zero + jnp.nan
        return cls(loss, zero + jnp.inf, zero, zero, zero, jnp.zeros((), bool), unknown)
