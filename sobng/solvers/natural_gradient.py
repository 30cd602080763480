"""The natural gradient of any scalar loss, in any metric."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from sobng.linalg.dense import Dense
from sobng.linalg.factorisation import AbstractFactorisation, QuadraticForm
from sobng.metrics.energy import EnergyMetric
from sobng.metrics.gram import AbstractGram
from sobng.metrics.metric import AbstractMetric
from sobng.search.radius import RadiusSearch
from sobng.search.search import AbstractSearch, Trial
from sobng.solvers.binding import bound, gram_of
from sobng.solvers.info import StepInfo
from sobng.solvers.slope import Slope
from sobng.system import System


class _NaturalGradientState(eqx.Module):
    aux: PyTree
    search_state: PyTree
    info: StepInfo
    first_gradient: Float[Array, ""]
    num_steps: Int[Array, ""]
    stalled: Bool[Array, ""]
    result: optx.RESULTS


class NaturalGradient(optx.AbstractMinimiser):
    r"""Steps along $-(G + \mu I)^{-1} \nabla \ell$ for any scalar loss $\ell$.

    $G = F^T F$ is the Gram matrix of a metric on functions, so that undamped the *field*
    moves along the projection of its functional gradient onto the tangent space; a
    search chooses $\mu$. For a least-squares loss [`sobng.GaussNewton`][] keeps more
    digits.

    Bind it to a [`sobng.System`][] with `solver.on(system)`: the metric needs the
    system's points. Unbound, only the Euclidean metric is possible.

    !!! example

        ```python
        import jax.numpy as jnp, optimistix as optx, sobng as sn

        solver = sn.NaturalGradient(metric=sn.EuclideanMetric())
        bowl = lambda y, args: jnp.sum((y - 1.0) ** 2)
        optx.minimise(bowl, solver, jnp.zeros(3), throw=False)
        ```

    ??? cite "Reference"

        After Bai, Rosenberg, Xu: arXiv 2202.06232; for energies Mueller, Zeinhofer:
        arXiv 2302.13163, whose grid search over step sizes we replace by a search over
        the damping.
    """

    metric: AbstractMetric
    search: AbstractSearch
    factorisation: AbstractFactorisation
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True)
    system: System | None
    gram: AbstractGram | None

    def __init__(
        self,
        metric: AbstractMetric | None = None,
        search: AbstractSearch | None = None,
        *,
        factorisation: AbstractFactorisation | None = None,
        rtol: float = 0.0,
        atol: float = 0.0,
        norm: Callable[[PyTree], Scalar] = optx.two_norm,
    ):
        """**Arguments:** as in [`sobng.GaussNewton`][]; the metric is the energy metric
        by default.
        """
        self.metric = EnergyMetric() if metric is None else metric
        self.search = RadiusSearch() if search is None else search
        self.factorisation = Dense() if factorisation is None else factorisation
        self.rtol = rtol
        self.atol = atol
        self.norm = norm
        self.system = None
        self.gram = None

    def on(self, system: System) -> "NaturalGradient":
        """The same solver bound to a system: its points, its field."""
        return bound(self, system)

    def _curvature(self, y, args) -> QuadraticForm:
        gram = gram_of(self)
        if gram is not None:
            return gram.form(y, args)
        flat, _ = jfu.ravel_pytree(y)
        return QuadraticForm(lambda: jnp.eye(flat.size, dtype=flat.dtype), lambda v: v)

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        del options, f_struct, aux_struct, tags
        loss, aux = fn(y, args)
        info = StepInfo.start(loss)
        finite = jnp.isfinite(loss)
        return _NaturalGradientState(
            aux,
            self.search.init(loss.dtype),
            info,
            info.gradient,
            jnp.zeros((), jnp.int32),
            jnp.zeros((), bool),
            optx.RESULTS.where(finite, optx.RESULTS.successful, optx.RESULTS.nonfinite),
        )

    def step(self, fn, y, args, options, state, tags):
        del options, tags
        flat, unravel = jfu.ravel_pytree(y)
        loss = state.info.loss

        def flat_fn(flat):
            return fn(unravel(flat), args)

        slope = Slope(lambda flat: flat_fn(flat)[0], y, args, self.system)
        gradient = slope.gradient
        model = self.factorisation.quadratic(self._curvature(y, args), gradient)

        def trial(step):
            new, aux = flat_fn(flat + step)
            decrease = slope.decrease(step, loss, new)
            return Trial(step, decrease, (loss - decrease, aux))

        outcome = self.search.search(model, trial, state.search_state)
        new_loss, new_aux = outcome.trial.payload

        def keep(new, old):
            return jnp.where(outcome.accepted, new, old)

        norm = self.norm(gradient)
        info = StepInfo(
            loss=keep(new_loss, loss),
            gradient=norm,
            damping=outcome.damping,
            ratio=outcome.ratio,
            length=jnp.linalg.norm(outcome.trial.step),
            accepted=outcome.accepted,
            projection_error=jnp.full_like(loss, jnp.nan),
        )
        finite = jnp.all(jnp.isfinite(gradient)) & jnp.isfinite(info.loss)
        new_state = _NaturalGradientState(
            jax.tree.map(keep, new_aux, state.aux),
            outcome.state,
            info,
            jnp.where(state.num_steps == 0, norm, state.first_gradient),
            state.num_steps + 1,
            outcome.stalled,
            optx.RESULTS.where(finite, optx.RESULTS.successful, optx.RESULTS.nonfinite),
        )
        return unravel(keep(flat + outcome.trial.step, flat)), new_state, state.aux

    def terminate(self, fn, y, args, options, state, tags):
        del fn, y, args, options, tags
        small = state.info.gradient <= self.atol + self.rtol * state.first_gradient
        small = small & (state.num_steps > 0) & (self.atol + self.rtol > 0)
        return small | state.stalled, state.result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        del fn, args, options, tags, result
        return y, aux, {"loss": state.info.loss, "gradient_norm": state.info.gradient}
