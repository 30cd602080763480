"""Searches along the undamped step, for comparison."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sobng.linalg.spectrum import AbstractModel
from sobng.search.search import AbstractSearch, Outcome, Trial


class _LineState(eqx.Module):
    failures: Int[Array, ""]


def _full(model: AbstractModel, relative: float):
    """The step that a fixed damping, relative to the largest curvature, allows."""
    tiny = jnp.finfo(model.slope.dtype).tiny
    damping = relative * jnp.maximum(jnp.max(model.curvature), tiny)
    return damping, model.step(damping), 2 * model.decrease(damping)


def _outcome(trial, accepted, damping, ratio, state, patience) -> Outcome:
    failures = jnp.where(accepted, 0, state.failures + 1)
    step = jnp.where(accepted, trial.step, jnp.zeros_like(trial.step))
    trial = Trial(step, trial.decrease, trial.payload)
    stalled = failures >= patience
    return Outcome(trial, accepted, stalled, damping, ratio, _LineState(failures))


class GridSearch(AbstractSearch[_LineState]):
    """Of the step sizes $1, 1/2, \\dots, 2^{1-n}$ takes the one with the least loss.

    What energy natural gradient descent uses; here for comparison.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(search=sn.GridSearch(num=30))
        ```

    ??? cite "Reference"

        Mueller, Zeinhofer: arXiv 2302.13163.
    """

    num: int = eqx.field(static=True)
    relative: float = eqx.field(static=True)

    def __init__(self, num: int = 31, *, relative: float = 1e-14):
        """**Arguments:**

        - `num`: how many step sizes.
        - `relative`: the damping, as a part of the largest curvature.
        """
        self.num = num
        self.relative = relative

    def init(self, dtype):
        return _LineState(jnp.zeros((), jnp.int32))

    def search(self, model, trial, state):
        damping, step, slope = _full(model, self.relative)

        def value(size):
            decrease = trial(size * step).decrease
            return jnp.where(jnp.isfinite(decrease), decrease, -jnp.inf)

        sizes = jnp.asarray(0.5, step.dtype) ** jnp.arange(self.num, dtype=step.dtype)
        decreases = jax.lax.map(value, sizes)
        size = sizes[jnp.argmax(decreases)]
        best = trial(size * step)
        ratio = best.decrease / (size * slope)
        return _outcome(best, jnp.max(decreases) > 0, damping, ratio, state, 3)


class ArmijoSearch(AbstractSearch[_LineState]):
    """Halves the step until the loss falls by a part of what its slope promises.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(search=sn.ArmijoSearch())
        ```
    """

    slope: float = eqx.field(static=True)
    num: int = eqx.field(static=True)
    relative: float = eqx.field(static=True)

    def __init__(self, slope: float = 0.1, *, num: int = 40, relative: float = 1e-14):
        """**Arguments:**

        - `slope`: the part of the promised decrease that is asked for.
        - `num`: how often the step is halved at most.
        - `relative`: the damping, as a part of the largest curvature.
        """
        self.slope = slope
        self.num = num
        self.relative = relative

    def init(self, dtype):
        return _LineState(jnp.zeros((), jnp.int32))

    def search(self, model, trial, state):
        damping, step, slope = _full(model, self.relative)

        def evaluate(size: Float[Array, ""]):
            candidate = trial(size * step)
            ratio = candidate.decrease / (size * slope)
            return size, candidate, jnp.where(jnp.isfinite(ratio), ratio, -jnp.inf)

        def poor(carry):
            count, (_, _, ratio) = carry
            return (ratio < self.slope) & (count < self.num)

        def halve(carry):
            count, (size, _, _) = carry
            return count + 1, evaluate(size / 2)

        first = jnp.zeros((), jnp.int32), evaluate(jnp.ones((), step.dtype))
        _, (_, candidate, ratio) = jax.lax.while_loop(poor, halve, first)
        return _outcome(candidate, ratio >= self.slope, damping, ratio, state, 3)
