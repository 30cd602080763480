"""The gain-ratio radius rule: the largest step that the model still describes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobng.linalg.spectrum import Spectrum
from sobng.search.search import AbstractSearch, Outcome, Trial


def damping_of(model: Spectrum, radius: Float[Array, ""]) -> Float[Array, ""]:
    """The damping at which the step is as long as the radius, by bisection in its
    logarithm; the least damping if the undamped step is shorter."""
    top = jnp.max(model.curvature)
    tiny = jnp.finfo(radius.dtype).eps ** 2
    low = jnp.log(jnp.maximum(top, jnp.finfo(radius.dtype).tiny) * tiny)
    high = jnp.log(top + jnp.linalg.norm(model.slope) / radius + tiny)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        short = model.length(jnp.exp(middle)) <= radius
        return jnp.where(short, low, middle), jnp.where(short, middle, high)

    low, high = jax.lax.fori_loop(0, 50, halve, (low, high))
    return jnp.exp(high)


class _RadiusState(eqx.Module):
    radius: Float[Array, ""]
    failures: Int[Array, ""]


class RadiusSearch(AbstractSearch[_RadiusState]):
    """Among many radii takes the largest whose gain ratio is still above a low target.

    Radii are tried from `expand` times the last one downwards, each `shrink` times the
    one before; every trial costs an evaluation of the loss, none a factorisation. The
    low target (a tenth, where textbooks ask for a quarter or more and then *reduce* a
    step that was fine) is what takes Gauss-Newton past the plateaus of a neural field.

    ??? cite "Reference"

        Webb, Jerad, Cartis: DSGNAR (arXiv 2607.02194, 2026) select among candidate
        radii by the gain ratio. We try the candidates one after the other instead of
        interpolating the ratio, and measure the radius in the metric of the damping.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(search=sn.RadiusSearch(ratio=0.15))
        ```
    """

    ratio: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    expand: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=3.0)
    shrink: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.8)
    trials: int = eqx.field(static=True, default=40)
    patience: int = eqx.field(static=True, default=3)

    def init(self, dtype):
        return _RadiusState(jnp.ones((), dtype), jnp.zeros((), jnp.int32))

    def search(self, model, trial, state):
        dtype = state.radius.dtype
        ratio, expand, shrink = (
            jnp.asarray(v, dtype) for v in (self.ratio, self.expand, self.shrink)
        )

        def evaluate(radius):
            damping = damping_of(model, radius)
            candidate = trial(model.step(damping))
            predicted = model.decrease(damping)
            gain = candidate.decrease / jnp.maximum(
                predicted, jnp.finfo(dtype).tiny
            )
            gain = jnp.where(jnp.isfinite(gain), gain, -jnp.inf)
            return radius, damping, candidate, gain

        def poor(carry):
            count, (_, _, _, gain) = carry
            return (gain < ratio) & (count < self.trials)

        def smaller(carry):
            count, (radius, *_) = carry
            return count + 1, evaluate(radius * shrink)

        # A radius beyond the undamped step only repeats it.
        full = model.length(damping_of(model, jnp.asarray(jnp.inf, dtype)))
        start = jnp.minimum(state.radius * expand, full)
        first = (jnp.ones((), jnp.int32), evaluate(start))
        _, (radius, damping, candidate, gain) = jax.lax.while_loop(poor, smaller, first)

        accepted = gain >= ratio
        failures = jnp.where(accepted, 0, state.failures + 1)
        still = candidate.step
        still = jnp.where(accepted, still, jnp.zeros_like(still))
        candidate = Trial(still, candidate.decrease, candidate.payload)
        return Outcome(
            candidate,
            accepted,
            failures >= self.patience,
            damping,
            gain,
            _RadiusState(radius, failures),
        )
