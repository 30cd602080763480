"""One face for the solvers of sobng, Optimistix and Optax."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, PyTree

from sobng.once import lean, once
from sobng.solvers.binding import check_squares
from sobng.solvers.gauss_newton import GaussNewton
from sobng.solvers.marching import Marching
from sobng.solvers.natural_gradient import NaturalGradient
from sobng.system import System


FOREIGN_STEPS = 50
"""Steps between two looks for solvers whose step is cheap."""


OURS = GaussNewton | NaturalGradient | Marching
"""Solvers that are looked at after every step."""


class Look(eqx.Module):
    """What the host sees after some steps."""

    loss: Float[Array, ""]
    damping: Float[Array, ""]
    ratio: Float[Array, ""]
    """True over predicted decrease of the last step; one for a linear problem."""
    accepted: Bool[Array, ""]
    projection_error: Float[Array, ""]
    done: Bool[Array, ""]


def adapt(solver: Any) -> tuple[Any, int]:
    """A solver with the interface of Optimistix, and how many steps to take at once.

    **Raises:** `ValueError` if it is neither a solver nor an Optax transformation.
    """
    if isinstance(solver, OURS):
        return solver, 1
    if isinstance(solver, optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser):
        return solver, FOREIGN_STEPS
    if hasattr(solver, "init") and hasattr(solver, "update"):
        return optx.OptaxMinimiser(solver, rtol=0.0, atol=0.0), FOREIGN_STEPS
    raise ValueError(
        "`solver` is a solver of sobng or Optimistix (least squares or minimiser) or an "
        f"Optax transformation. Got {solver!r}."
    )


def bind(solver: Any, system: System) -> Any:
    """The solver on the points of a system; those from elsewhere know no points.

    **Raises:** `ValueError` if the solver needs a sum of squares and gets an energy, or if
    its metric does not suit the system.
    """
    if isinstance(solver, optx.AbstractLeastSquaresSolver):
        check_squares(solver, system)
    on = getattr(solver, "on", None)
    return solver if on is None else on(system)


def _objective(solver: Any, system: System):
    """What the solver makes small, in the form of Optimistix."""
    squares = isinstance(solver, optx.AbstractLeastSquaresSolver)
    objective = system.residual if squares else system.loss
    return lambda params, args: (objective(params, args), None)


@once
def init_solver(solver: Any, system: System, params: PyTree, args: Any) -> PyTree:
    """The state of a bound solver before its first step."""
    fn = _objective(solver, system)
    f_struct, aux_struct = jax.eval_shape(fn, params, args)
    return solver.init(fn, params, args, {}, f_struct, aux_struct, frozenset())


def on_other_points(
    solver: Any, system: System, params: PyTree, state: PyTree, args: Any
) -> PyTree:
    """The state of a solver that goes on with a system on other points: what a search has
    learnt stays, and so does the state of a solver that remembers no residual."""
    if not isinstance(solver, optx.AbstractLeastSquaresSolver | NaturalGradient):
        return state
    new = init_solver(solver, system, params, args)
    if not isinstance(solver, GaussNewton | NaturalGradient):
        return new
    return eqx.tree_at(lambda s: s.search_state, new, state.search_state)


@lean
def run_steps(
    solver: Any, system: System, params: PyTree, state: PyTree, args: Any, num: int
) -> tuple[PyTree, PyTree, Look]:
    """`num` steps of a bound solver on the device, fewer if it ends."""
    fn = _objective(solver, system)
    tags: frozenset[object] = frozenset()

    def one(params, state):
        # Optax mixes precisions, which a session may have forbidden to us.
        ours = isinstance(solver, OURS)
        # JAX adds its options to `config` at run time.
        strict = jax.config.jax_numpy_dtype_promotion  # pyright: ignore[reportAttributeAccessIssue]
        mode = strict if ours else "standard"
        with jax.numpy_dtype_promotion(mode):
            params, state, _ = solver.step(fn, params, args, {}, state, tags)
        done, result = solver.terminate(fn, params, args, {}, state, tags)
        return params, state, done | (result != optx.RESULTS.successful)

    if num == 1:
        params, state, done = one(params, state)
        info = state.info
        look = Look(
            info.loss,
            info.damping,
            info.ratio,
            info.accepted,
            info.projection_error,
            done,
        )
        return params, state, look

    dynamic, static = eqx.partition(state, eqx.is_array)

    def more(carry):
        _, _, done, count = carry
        return ~done & (count < num)

    def body(carry):
        params, dynamic, _, count = carry
        params, state, done = one(params, eqx.combine(dynamic, static))
        dynamic, _ = eqx.partition(state, eqx.is_array)
        return params, dynamic, done, count + 1

    start = (params, dynamic, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    params, dynamic, done, _ = jax.lax.while_loop(more, body, start)
    loss = system.loss(params, args)
    zero, unknown = jnp.zeros_like(loss), jnp.full_like(loss, jnp.nan)
    look = Look(loss, zero, zero, jnp.ones((), bool), unknown, done)
    return params, eqx.combine(dynamic, static), look


def loss_of(system: System, params: PyTree, args: Any) -> Float[Array, ""]:
    """The loss of a system, compiled once, whichever of the parameters move."""
    whole = system.moving_all(params)
    return _loss(whole, whole.params, args)


@lean
def _loss(system, params, args):
    return system.loss(params, args)
