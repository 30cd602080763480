"""The gain-ratio radius rule: the largest step that the model still describes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobng.linalg.spectrum import AbstractModel
from sobng.search.search import AbstractSearch, Outcome, Trial


NEAR = 1e-11
"""The relative error of a damping. Not of a length: among many that are as long as the radius
up to rounding, that of the least damping is meant."""

HALVINGS = 45


def least_damping(model: AbstractModel) -> Float[Array, ""]:
    """Below it there is nothing but rounding."""
    top = jnp.maximum(jnp.max(model.curvature), jnp.finfo(model.slope.dtype).tiny)
    return top * jnp.finfo(top.dtype).eps ** 2


def damping_of(model: AbstractModel, radius: Float[Array, ""]) -> Float[Array, ""]:
    """The damping at which the step is as long as the radius; the least damping if that
    step is shorter.

    By Newton's method between the logarithms of both, from above, where it does not
    overshoot if the step lies along one curvature; by bisection where it does.
    """
    top = jnp.max(model.curvature)
    low = jnp.log(least_damping(model))
    high = jnp.log(top + jnp.linalg.norm(model.slope) / radius)
    eps = float(jnp.finfo(radius.dtype).eps)

    def excess(point):
        return jnp.log(model.length(jnp.exp(point)) / radius)

    def far(state):
        count, (low, high), _, moved = state
        near = max(NEAR, 8 * eps)
        return (moved > near) & (high - low > near) & (count < HALVINGS)

    def closer(state):
        count, (low, high), point, _ = state
        value, slope = jax.jvp(excess, (point,), (jnp.ones_like(point),))
        low = jnp.where(value > 0, point, low)
        high = jnp.where(value > 0, high, point)
        newton = point - value / slope
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, (low + high) / 2)
        return count + 1, (low, high), new, jnp.abs(new - point)

    zero = jnp.zeros((), jnp.int32)
    state = zero, (low, high), high, jnp.full_like(high, jnp.inf)
    _, _, point, _ = jax.lax.while_loop(far, closer, state)
    return jnp.exp(jnp.where(excess(low) <= 0, low, point))


class _RadiusState(eqx.Module):
    radius: Float[Array, ""]
    failures: Int[Array, ""]


class RadiusSearch(AbstractSearch[_RadiusState]):
    """Among many radii takes the largest whose gain ratio is above a low target.

    Radii are tried from `span` times the last one down to its `span`-th part, in
    `trials` equal ratios; a trial costs an evaluation of the loss, never a
    factorisation. The low target (a fifth, where textbooks ask for a quarter and more)
    and the fine ratio (1.10: coarser grids lose decades, measured) take Gauss-Newton
    past the plateaus of a neural field. A lower target makes more steps, which end at
    smaller errors; a higher one fewer.

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

    ratio: float = eqx.field(static=True)
    span: float = eqx.field(static=True)
    trials: int = eqx.field(static=True)
    initial: float = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        ratio: float = 0.2,
        span: float = 3.0,
        trials: int = 24,
        initial: float = 1.0,
        patience: int = 12,
    ):
        """**Arguments:**

        - `ratio`: the least true over predicted decrease of a step that is taken.
        - `span`: how far the radius may grow or shrink in one step.
        - `trials`: candidates, in equal ratios.
        - `initial`: the first radius; infinity starts with the undamped step.
        - `patience`: refused steps in a row after which nothing is left to gain.
        """
        self.ratio = ratio
        self.span = span
        self.trials = trials
        self.initial = initial
        self.patience = patience

    def init(self, dtype):
        return _RadiusState(jnp.asarray(self.initial, dtype), jnp.zeros((), jnp.int32))

    def search(self, model, trial, state):
        dtype = state.radius.dtype
        shrink = self.span ** (-2 / (self.trials - 1))

        def evaluate(radius):
            damping = damping_of(model, radius)
            candidate = trial(model.step(damping))
            predicted = jnp.maximum(model.decrease(damping), jnp.finfo(dtype).tiny)
            gain = candidate.decrease / predicted
            gain = jnp.where(jnp.isfinite(gain), gain, -jnp.inf)
            return radius, damping, candidate, gain

        def poor(carry):
            count, (*_, gain) = carry
            return (gain < self.ratio) & (count < self.trials)

        def smaller(carry):
            count, (radius, *_) = carry
            return count + 1, evaluate(jnp.where(count == 0, radius, radius * shrink))

        # A radius beyond the undamped step only repeats it.
        full = model.length(least_damping(model))
        start = jnp.minimum(state.radius * self.span, full)
        # The first radius is tried in the loop too, so that a trial is compiled once.
        shapes = jax.eval_shape(evaluate, start)
        blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        blank = eqx.tree_at(
            lambda b: (b[0], b[-1]), blank, (start, jnp.full_like(start, -jnp.inf))
        )
        first = (jnp.zeros((), jnp.int32), blank)
        _, (radius, damping, candidate, gain) = jax.lax.while_loop(poor, smaller, first)

        accepted = gain >= self.ratio
        failures = jnp.where(accepted, 0, state.failures + 1)
        step = jnp.where(accepted, candidate.step, jnp.zeros_like(candidate.step))
        return Outcome(
            Trial(step, candidate.decrease, candidate.payload),
            accepted,
            failures >= self.patience,
            damping,
            gain,
            _RadiusState(radius, failures),
        )
