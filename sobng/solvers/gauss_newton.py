"""Gauss-Newton with damping measured in a metric."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from sobng.linalg.blocked import gram as gram_matrix
from sobng.linalg.factorisation import AbstractFactorisation, LinearMap
from sobng.metrics.euclidean import EuclideanMetric
from sobng.metrics.gram import AbstractGram
from sobng.metrics.metric import AbstractMetric
from sobng.precision import matmul
from sobng.search.radius import RadiusSearch
from sobng.search.search import AbstractSearch, Trial
from sobng.solvers.binding import bound, check_squares, gram_of
from sobng.solvers.info import StepInfo
from sobng.solvers.route import route
from sobng.system import System


class _GaussNewtonState(eqx.Module):
    residual: Float[Array, " rows"]
    aux: PyTree
    search_state: PyTree
    info: StepInfo
    first_gradient: Float[Array, ""]
    num_steps: Int[Array, ""]
    stalled: Bool[Array, ""]
    result: optx.RESULTS


class GaussNewton(optx.AbstractLeastSquaresSolver):
    r"""Damped Gauss-Newton: the natural gradient of a least-squares loss.

    Each step factorises the Jacobian once, orthogonally, and lets a search choose $\mu$ in

    $$\min_d\; |r + J d|^2 + \mu\,(|F d|^2 + \epsilon |d|^2),$$

    where $F^T F$ is the metric in which the damping is measured. Undamped, the motion of
    the residual is the projection of $-r$ onto the range of $J$: the natural gradient
    in the metric that the PDE induces. With `rows < params` the dual form is used; for large
    fields without a Jacobian.

    Bind it to a [`sobng.System`][] with `solver.on(system)`: the Jacobian then comes row
    by row and the metric from the system's points. Unbound, it takes any residual
    function, with the Euclidean metric.

    !!! example

        ```python
        import jax.numpy as jnp, optimistix as optx, sobng as sn


        def rosenbrock(y, args):
            return jnp.stack([10 * (y[1] - y[0] ** 2), 1 - y[0]])


        solution = optx.least_squares(rosenbrock, sn.GaussNewton(), jnp.array([-1.2, 1.0]))
        ```
    """

    metric: AbstractMetric
    search: AbstractSearch
    factorisation: AbstractFactorisation | None
    memory: int | float | None = eqx.field(static=True)
    geodesic: bool = eqx.field(static=True)
    relative: float = eqx.field(static=True)
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
        memory: int | float | None = None,
        geodesic: bool = False,
        relative: float = 0.1,
        rtol: float = 0.0,
        atol: float = 0.0,
        norm: Callable[[PyTree], Scalar] = optx.two_norm,
    ):
        r"""**Arguments:**

        - `metric`: measures the damping; Euclidean by default.
        - `search`: chooses the damping; [`sobng.RadiusSearch`][] by default.
        - `factorisation`: how a step is solved for. By default the cheapest of
            [`sobng.Dense`][] and [`sobng.Dual`][] that fits in memory, by a count of
            operations and bytes; else [`sobng.Nystrom`][], or [`sobng.Krylov`][] with a
            metric.
        - `memory`: the bytes that a step may take; half of the machine's by default.
        - `geodesic`: correct each step for the second derivative of the residual along
            it, when that lowers the loss (geodesic acceleration).
        - `relative`: $\epsilon$ as a part of the mean eigenvalue of $F^T F$.
        - `rtol`, `atol`, `norm`: stop when the gradient's norm is below
            `atol + rtol * (norm at the start)`; zero (default) leaves the end to the
            search, which stops when rounding leaves no decrease.
        """
        self.metric = EuclideanMetric() if metric is None else metric
        self.search = RadiusSearch() if search is None else search
        if memory is not None and not memory > 0:
            raise ValueError(f"`memory` is a positive number of bytes. Got {memory!r}.")
        self.factorisation = factorisation
        self.memory = memory
        self.geodesic = geodesic
        self.relative = relative
        self.rtol = rtol
        self.atol = atol
        self.norm = norm
        self.system = None
        self.gram = None

    def on(self, system: System) -> "GaussNewton":
        """The same solver bound to a system: its rows, its points.

        **Raises:** `ValueError` if the system is that of an energy, which is no sum of
        squares, or does not suit the metric.
        """
        check_squares(self, system)
        return bound(self, system)

    def _jacobian(self, fn, y, args) -> LinearMap:
        flat, unravel = jfu.ravel_pytree(y)
        system = self.system

        def flat_fn(flat):
            return jfu.ravel_pytree(fn(unravel(flat), args)[0])[0]

        def dense():
            if system is not None:
                return system.jacobian(y, args)
            rows = jax.eval_shape(flat_fn, flat).size
            mode = jax.jacfwd if rows >= flat.size else jax.jacrev
            return mode(flat_fn)(flat)

        def row_gram():
            if system is not None:
                return system.gram(y, args)
            rows = dense()
            return matmul(rows, rows.T)

        def normal(residual):
            if system is not None:
                return system.normal(y, args)
            matrix = dense()
            return gram_matrix(matrix), matmul(matrix.T, residual)

        return LinearMap(
            flat.size,
            dense,
            normal,
            lambda vector: jax.jvp(flat_fn, (flat,), (vector,))[1],
            lambda vector: jax.vjp(flat_fn, flat)[1](vector)[0],
            row_gram,
            None if system is None else lambda a: system.products(y, a, args),
            None
            if system is None
            else lambda a: system.transposed_products(y, a, args),
        )

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        del options, f_struct, aux_struct, tags
        residual, aux = fn(y, args)
        residual, _ = jfu.ravel_pytree(residual)
        if self.system is not None and self.system.rows(args) != residual.size:
            raise ValueError(
                "This solver is bound to a system with other points: that has "
                f"{self.system.rows(args)} rows, and the residual {residual.size}. Bind it "
                "to the system whose residual it is given, `solver.on(system)`."
            )
        dtype = residual.dtype
        info = StepInfo.start(0.5 * jnp.sum(residual**2))
        result = optx.RESULTS.where(
            jnp.all(jnp.isfinite(residual)),
            optx.RESULTS.successful,
            optx.RESULTS.nonfinite,
        )
        return _GaussNewtonState(
            residual,
            aux,
            self.search.init(dtype),
            info,
            info.gradient,
            jnp.zeros((), jnp.int32),
            jnp.zeros((), bool),
            result,
        )

    def step(self, fn, y, args, options, state, tags):
        del options, tags
        flat, unravel = jfu.ravel_pytree(y)
        residual = state.residual
        jacobian = self._jacobian(fn, y, args)
        gram = gram_of(self)
        factorisation = self.factorisation
        if factorisation is None:
            factorisation = route(self.system, gram is None, args, self.memory)
        model = factorisation.least_squares(
            jacobian,
            residual,
            None if gram is None else gram.form(y, args),
            self.relative,
        )

        def flat_fn(flat):
            out, aux = fn(unravel(flat), args)
            return jfu.ravel_pytree(out)[0], aux

        def trial(step):
            new, aux = flat_fn(flat + step)
            # (|r|^2 - |s|^2)/2 = (r - s).(r + s)/2 keeps its digits when r is near s.
            decrease = 0.5 * jnp.sum((residual - new) * (residual + new))
            return Trial(step, decrease, (new, aux))

        outcome = self.search.search(model, trial, state.search_state)
        best = outcome.trial
        if self.geodesic:
            best = self._accelerated(flat_fn, flat, jacobian, model, outcome, trial)
        new, new_aux = best.payload

        def keep(new, old):
            return jnp.where(outcome.accepted, new, old)

        new_residual = keep(new, residual)
        gradient = self.norm(model.gradient)
        left = jnp.sum(residual**2) - model.explained()
        info = StepInfo(
            loss=0.5 * jnp.sum(new_residual**2),
            gradient=gradient,
            damping=outcome.damping,
            ratio=outcome.ratio,
            length=jnp.linalg.norm(best.step),
            accepted=outcome.accepted,
            projection_error=jnp.sqrt(jnp.maximum(left, 0)) / jnp.linalg.norm(residual),
        )
        finite = jnp.all(jnp.isfinite(model.slope)) & jnp.isfinite(info.loss)
        result = optx.RESULTS.where(
            finite, optx.RESULTS.successful, optx.RESULTS.nonfinite
        )
        new_state = _GaussNewtonState(
            new_residual,
            jax.tree.map(keep, new_aux, state.aux),
            outcome.state,
            info,
            jnp.where(state.num_steps == 0, gradient, state.first_gradient),
            state.num_steps + 1,
            outcome.stalled,
            result,
        )
        return unravel(keep(flat + best.step, flat)), new_state, state.aux

    def _accelerated(self, flat_fn, flat, jacobian, model, outcome, trial):
        """The accepted step plus half the geodesic acceleration, if that is better."""
        step = outcome.trial.step

        def slope(point):
            return jax.jvp(lambda p: flat_fn(p)[0], (point,), (step,))[1]

        second = jax.jvp(slope, (flat,), (step,))[1]
        bend = model.correction(jacobian.transposed(second), outcome.damping)
        corrected = trial(step + 0.5 * bend)
        better = corrected.decrease > outcome.trial.decrease
        return jax.tree.map(
            lambda a, b: jnp.where(better, a, b), corrected, outcome.trial
        )

    def terminate(self, fn, y, args, options, state, tags):
        del fn, y, args, options, tags
        small = state.info.gradient <= self.atol + self.rtol * state.first_gradient
        small = small & (state.num_steps > 0) & (self.atol + self.rtol > 0)
        return small | state.stalled, state.result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        del fn, args, options, tags, result
        return y, aux, {"loss": state.info.loss, "gradient_norm": state.info.gradient}
