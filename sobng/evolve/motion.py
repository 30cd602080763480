"""The motion of a field as ordinary differential equations, for Diffrax by hand."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from sobng.collocation import Collocation
from sobng.evolve.checks import (
    check_concrete,
    check_evolution,
    check_field,
    check_times,
)
from sobng.evolve.exponential import ExponentialGauss
from sobng.evolve.features import rule
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.moving import fitted, Moving, moving, START, starting
from sobng.evolve.projection import galerkin, setting, walls_change
from sobng.evolve.walls import check_periods, walled
from sobng.fields.partition import combine, linear_leaves
from sobng.problem import Evolution
from sobng.solvers.adjoint import MinimumNormAdjoint
from sobng.solvers.gauss_newton import GaussNewton
from sobng.system import System
from sobng.threads import lapack_threads


FIT_STEPS = 50
"""Gauss-Newton steps from the initial values of one `args` to those of another."""

HELD_OUT = 256
"""Points for the projection residual."""


WAY_OUT = "Move all parameters: `sobng.motion(..., all_parameters=True)`."


class Motion(eqx.Module):
    """A field that moves by an evolution: a system of ordinary differential equations.

    All methods are pure functions that can be traced, batched and differentiated in the
    time, the state and `args`. Made by [`sobng.motion`][].
    """

    projected: Galerkin | Moving

    @property
    def terms(self) -> dfx.ODETerm:
        """The equations, for `diffrax.diffeqsolve`."""
        return dfx.ODETerm(self.velocity)

    @property
    def solver(self) -> dfx.AbstractSolver:
        """The solver that suits them: [`sobng.ExponentialGauss`][] with the rates of
        frozen features, `diffrax.Dopri8` for all parameters."""
        return default_solver(self.projected)

    def velocity(self, t: Any, y: Float[Array, " size"], args: Any = None) -> Array:
        """How the state moves: the right-hand side, projected.

        **Arguments:**

        - `t`, `y`: time and state.
        - `args`: handed to all functions of the evolution; its own by default.
        """
        return self.projected.velocity(t, y, self._args(args))

    def start(self, t0: Any, args: Any = None) -> Float[Array, " size"]:
        """The state of the initial values.

        Frozen features: their projection. All parameters: a least-squares fit that begins
        at the one for the `args` that the motion was made with, and is differentiated by
        the implicit function theorem.

        **Arguments:**

        - `t0`: the first time.
        - `args`: as for `velocity`.
        """
        return start(self.projected, t0, self._args(args))

    def field(self, t: Any, y: Float[Array, " size"], args: Any = None) -> PyTree:
        """The field of a state, a function of one point of space.

        **Arguments:** as for `velocity`.
        """
        return self.projected.field(t, y, self._args(args))

    def defect(self, t: Any, y: Float[Array, " size"], args: Any = None) -> Array:
        """What the field cannot follow of the right-hand side, on held-out points,
        relatively in the root mean square.

        **Arguments:** as for `velocity`.
        """
        left, asked, _ = self.projected.defect(t, y, self._args(args))
        return jnp.sqrt(left / asked)

    def _args(self, args: Any) -> Any:
        return self.projected.evolution.args if args is None else args


def motion(
    evolution: Evolution,
    field: PyTree,
    t0: Any,
    t1: Any,
    *,
    key: Any,
    args: Any = None,
    all_parameters: bool = False,
) -> Motion:
    """The motion of a field by an evolution, to be stepped with Diffrax by hand.

    For what [`sobng.evolve`][] does not do: `jit`, `vmap`, and derivatives by any of
    Diffrax' adjoints, with its events, its saving and its implicit solvers.

    !!! example

        ```python
        import diffrax as dfx, equinox as eqx, jax, jax.numpy as jnp
        import sobng as sn

        rod = sn.Interval(0.0, 1.0)
        heat = sn.Evolution(
            lambda u, t, x, kappa: kappa * sn.laplacian(u)(x),
            lambda x: jnp.sin(jnp.pi * x[0]),
            rod,
            boundary=[sn.Dirichlet(rod.boundary, 0.0)],
            args=0.1,
        )
        field = sn.sine_features(1, num=80, key=jax.random.key(0))
        field = sn.with_bandwidth(field, 8.0)
        motion = sn.motion(heat, field, 0.0, 1.0, key=jax.random.key(1))


        def middle(kappa, motion):
            found = dfx.diffeqsolve(
                motion.terms,
                motion.solver,
                0.0,
                1.0,
                0.1,
                motion.start(0.0, kappa),
                args=kappa,
                stepsize_controller=dfx.PIDController(rtol=1e-9, atol=1e-9),
            )
            return motion.field(1.0, found.ys[-1], kappa)(jnp.array([0.5]))


        # As an argument, not closed over: its tables would be constants of the program.
        eqx.filter_jit(jax.grad(middle))(0.1, motion)  # -pi^2 exp(-pi^2 / 10)
        ```

    By default the last layer of the field moves and its features stay: few of them, or
    features that are too smooth, cannot follow, and `motion.defect` tells. The field of
    a solution has features that can: `sn.motion(evolution, solution.field, ...)`.

    **Arguments:**

    - `evolution`: a [`sobng.Evolution`][].
    - `field`: a field of a point in space; conditions that can be exact are built in.
    - `t0`, `t1`: the interval of time.
    - `key`: a JAX random key.
    - `args`: for the set-up, instead of the evolution's own; numbers. Other `args` may be
        given to each method. The solver's linear part is that of these: where a stiff
        part changes with `args` by more than a third or so, steps get short.
    - `all_parameters`: move these instead, from a fit to the initial values. The points
        of the projection then stay where they are.

    **Returns:** a [`sobng.Motion`][].

    **Raises:** `ValueError` if the statement or the field cannot be used, inside of `jit`,
    `grad` or `vmap`, or if frozen features cannot do it: a right-hand side that is not
    local, or a boundary condition whose left-hand side changes with `t` or `args`.
    """
    t0, t1 = check_times(t0, t1)
    args = getattr(evolution, "args", None) if args is None else args
    check_concrete(args, "`motion` is made outside of `jit`, `grad` and `vmap`")
    check_evolution(evolution, t0, args)
    check_field(evolution, field)
    unknown = walled(evolution, field, jnp.asarray(t0), args)
    check_periods(evolution, unknown)
    with lapack_threads(1):
        if all_parameters:
            unknown = fitted(evolution, unknown, t0, args, key, None)
            return Motion(moving(evolution, unknown, t0, t1, args, key))
        return Motion(_frozen(evolution, unknown, t0, t1, args, key))


def _frozen(evolution, unknown, t0, t1, args, key) -> Galerkin:
    """The motion of the last layer."""
    look_key, point_key, key = jr.split(key, 3)
    linear, _ = eqx.partition(unknown, linear_leaves(unknown))
    size = sum(leaf.size for leaf in jax.tree.leaves(linear))
    made = None if size == 0 else setting(evolution, unknown, t0, t1, args, look_key)
    if made is None:
        lack = "The field has no last layer" if size == 0 else "`rhs` is not local"
        raise ValueError(
            f"{lack}, or a boundary condition changes its left-hand side in time, which "
            f"frozen features cannot follow. {WAY_OUT}"
        )
    check_walls(evolution, unknown, t0, args)
    points, weights = rule(evolution, 3 * size // (evolution.out or 1))
    held_out, _ = evolution.domain.interior.sample(HELD_OUT, point_key)
    return galerkin(made, unknown, points, weights, held_out, key)


def check_walls(evolution: Evolution, unknown: Any, t0: float, args: Any) -> None:
    """Raises `ValueError` if `args` change the left-hand side of a boundary condition."""
    bent = jax.tree.map(
        lambda a: 1.1 * a + 0.1 if eqx.is_inexact_array_like(a) else a, args
    )
    if walls_change(evolution, unknown, (t0, args), (t0, bent)):
        raise ValueError(
            "`args` change the left-hand side of a boundary condition, which frozen "
            f"features cannot follow. {WAY_OUT}"
        )


def default_solver(projected: Galerkin | Moving) -> dfx.AbstractSolver:
    """The solver that suits a projected evolution."""
    if isinstance(projected, Galerkin):
        return ExponentialGauss(projected.rates, derivatives=True)
    return dfx.Dopri8()


def start(projected: Galerkin | Moving, t0: Any, args: Any) -> Float[Array, " size"]:
    """The state of the initial values of any `args`."""
    if isinstance(projected, Galerkin):
        return projected.start(t0, args)[0]

    problem = starting(projected.evolution, projected.moving)
    points = Collocation({START: projected.points}, {START: projected.weights})
    system = System(problem, combine(projected.params, projected.rest), points)
    fit = optx.least_squares(
        system.residual,
        GaussNewton().on(system),
        system.params,
        (jnp.asarray(t0, projected.points.dtype), args),
        max_steps=FIT_STEPS,
        throw=False,
        adjoint=MinimumNormAdjoint(),
    )
    return jfu.ravel_pytree(fit.value)[0]
