"""Evolutions by hand with Diffrax, and their derivatives in the data."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.integrate import integrate
from sobng.evolve.replay import replayed


ROD = sn.Interval(0.0, 1.0)
MIDDLE = jnp.asarray([0.4])
STEPS = dfx.PIDController(rtol=1e-10, atol=1e-10)


def sine(x):
    return jnp.sin(jnp.pi * x[0])


HEAT = sn.Evolution(
    lambda u, t, x, args: args[0] * sn.laplacian(u)(x),
    lambda x, args: args[1] * sine(x),
    ROD,
    boundary=[sn.Dirichlet(ROD.boundary, 0.0)],
    args=(0.1, 1.0),
)


def exact(args):
    return args[1] * jnp.exp(-args[0] * jnp.pi**2 / 2) * sine(MIDDLE)


def features(num, bandwidth):
    field = sn.sine_features(1, num=num, key=jr.key(0))
    return sn.with_bandwidth(field, bandwidth)


def value(args, motion, adjoint):
    """The value in the middle at one half."""
    found = dfx.diffeqsolve(
        motion.terms,
        motion.solver,
        0.0,
        0.5,
        0.1,
        motion.start(0.0, args),
        args=args,
        stepsize_controller=STEPS,
        adjoint=adjoint,
        max_steps=256,
    )
    return motion.field(0.5, found.ys[-1], args)(MIDDLE)


@pytest.fixture(scope="module")
def heat():
    return sn.motion(HEAT, features(40, 6.0), 0.0, 0.5, key=jr.key(1))


@pytest.mark.parametrize(
    "derivative, adjoint",
    [
        (jax.grad, dfx.RecursiveCheckpointAdjoint()),
        (jax.jacfwd, dfx.ForwardMode()),
    ],
)
def test_derivatives_of_heat_are_exact_for_a_batch_of_arguments(
    heat, derivative, adjoint
):
    args = (jnp.asarray([0.1, 0.12]), jnp.asarray([1.0, 1.5]))
    batched = jax.vmap(derivative(value), in_axes=(0, None, None))
    found = eqx.filter_jit(batched)(args, heat, adjoint)
    # The first are the arguments of the set-up, whose own linear part is exact.
    for one, other in zip(found, jax.vmap(jax.grad(exact))(args), strict=True):
        assert jnp.allclose(one, other, rtol=1e-8)


def test_the_defect_tells_features_that_follow_from_those_that_do_not(heat):
    start = heat.start(0.0)
    assert heat.defect(0.0, start) < 1e-7
    smooth = sn.motion(HEAT, features(3, 0.5), 0.0, 0.5, key=jr.key(1))
    assert smooth.defect(0.0, smooth.start(0.0)) > 1e-4


@pytest.mark.slow
def test_derivatives_in_boundary_data_agree_with_finite_differences():
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) / 4 - args[1] * u(x) ** 3,
        lambda x: sine(x),
        ROD,
        boundary=[
            sn.Dirichlet(ROD.part("left"), 0.0, name="cold"),
            sn.Dirichlet(
                ROD.part("right"), lambda t, x, args: args[0] * jnp.sin(t), name="wall"
            ),
        ],
        args=(1.0, 2.0),
    )
    motion = sn.motion(evolution, features(40, 6.0), 0.0, 0.5, key=jr.key(1))
    both = eqx.filter_jit(jax.value_and_grad(value))
    adjoint = dfx.RecursiveCheckpointAdjoint()
    at = lambda *args: both(jnp.asarray(args), motion, adjoint)
    _, found = at(1.0, 2.0)
    step = 1e-4
    for i, move in enumerate(step * np.eye(2)):
        ends = [at(*(np.asarray([1.0, 2.0]) + s * move))[0] for s in (1, -1)]
        # Central differences: h^2 = 1e-8.
        assert jnp.allclose(found[i], (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.slow
def test_all_parameters_start_and_move_with_the_arguments():
    field = sn.MLP(1, width=8, key=jr.key(2))
    motion = sn.motion(
        HEAT, field, 0.0, 0.5, key=jr.key(1), args=(0.1, 1.2), all_parameters=True
    )

    @eqx.filter_jit
    def seen(args, motion):
        def look(args):
            y0 = motion.start(0.0, args)
            y1 = y0 + 1e-3 * motion.velocity(0.0, y0, args)
            return jnp.stack([motion.field(0.0, y, args)(MIDDLE) for y in (y0, y1)])

        return look(args), jax.jacrev(look)(args)

    args = (jnp.asarray(0.1), jnp.asarray(1.0))
    values, found = seen(args, motion)
    # As well as so small a network can: the fit, and the velocity's projection.
    top = sine(MIDDLE)
    assert jnp.allclose(values[0], top, rtol=1e-4)
    change = -1e-3 * jnp.pi**2 * top
    assert jnp.allclose(found[1], values, rtol=1e-3)
    assert abs(found[0][0]) < 1e-6
    assert jnp.allclose(found[0][1], change, rtol=1e-2)


@pytest.mark.slow
def test_evolve_is_differentiable_in_its_arguments():
    saveat = dfx.SaveAt(ts=[0.5], fn=lambda t, u, args: args[1] * u(MIDDLE))

    def solved(args):
        solution = sn.evolve(
            HEAT, t1=0.6, key=jr.key(0), args=args, tolerance=1e-4, saveat=saveat
        )
        return solution.ys[0]

    args = (jnp.asarray(0.1), jnp.asarray(1.5))
    expected = jax.grad(lambda args: args[1] * exact(args))(args)
    for derivative in (jax.grad, jax.jacfwd):
        found = derivative(solved)(args)
        assert jnp.allclose(jnp.stack(found), jnp.stack(expected), rtol=1e-6)


@pytest.mark.slow
def test_steps_that_are_taken_again_have_the_derivative_of_the_steps(heat):
    still = heat.projected
    y0 = heat.start(0.0)
    steps = dfx.PIDController(rtol=0.0, atol=1e-9)
    trip = integrate(still, heat.solver, steps, 0.0, 0.5, y0, HEAT.args)

    def seen(args):
        y0 = heat.start(0.0, args)
        path = replayed(still, heat.solver, trip.path, y0, args)
        return heat.field(0.5, path.end, args)(MIDDLE)

    args = (jnp.asarray(0.1), jnp.asarray(1.0))
    found = jax.grad(seen)(args)
    assert jnp.allclose(jnp.stack(found), jnp.stack(jax.grad(exact)(args)), rtol=1e-7)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"conserve": [lambda u, x, args: u(x)]}, "A run with `conserve` has no"),
        (
            {"corrections": 1, "field": sn.MLP(1, key=jr.key(0))},
            "A run with `corrections` has no",
        ),
        ({"solver": dfx.Kvaerno3()}, "A run by the implicit `Kvaerno3` has no"),
        ({"solver": dfx.HalfSolver(dfx.ImplicitEuler())}, "implicit `ImplicitEuler`"),
    ],
)
def test_what_has_no_derivative_yet_is_refused_before_a_run(options, says):
    def solved(args):
        return sn.evolve(HEAT, key=jr.key(0), args=args, **options)(1.0, MIDDLE)

    with pytest.raises(ValueError, match=says):
        jax.grad(solved)((jnp.asarray(0.1), jnp.asarray(1.0)))


@pytest.mark.parametrize(
    "field, says",
    [
        ({"a": sn.MLP(1, key=jr.key(0))}, "moves one field"),
        (sn.MLP(1, out=2, key=jr.key(0)), r"values of shape \(2,\)"),
    ],
)
def test_a_motion_refuses_what_is_no_field_of_the_evolution(field, says):
    with pytest.raises(ValueError, match=says):
        sn.motion(HEAT, field, 0.0, 0.5, key=jr.key(0), all_parameters=True)


def test_evolve_inside_jit_and_what_features_cannot_follow_name_a_way_out():
    with pytest.raises(ValueError, match="sobng.motion"):
        jax.jit(lambda a: sn.evolve(HEAT, key=jr.key(0), args=a)(1.0, MIDDLE))((0.1, 1))
    for law, says in (
        (lambda t, x, args: args[0], "`args` change the left-hand side"),
        (lambda t, x: 1 + t, "left-hand side in time"),
    ):
        leaky = sn.Evolution(
            HEAT.rhs,
            HEAT.initial,
            ROD,
            boundary=[sn.Robin(ROD.boundary, law, 1.0, 0.0)],
            args=HEAT.args,
        )
        with pytest.raises(ValueError, match=f"{says}.* all_parameters=True"):
            sn.motion(leaky, features(20, 4.0), 0.0, 1.0, key=jr.key(0))


@pytest.mark.slow
def test_features_have_the_derivative_of_their_own_solver_where_a_field_is_fitted():
    circle = sn.Interval(-1.0, 1.0)
    evolution = sn.Evolution(
        lambda u, t, x, speed: -speed * sn.partial(u, 0)(x),
        lambda x: jnp.sin(jnp.pi * x[0]),
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )
    told = {"solver": sn.FittedRungeKutta(dfx.Dopri5()), "tolerance": 1e-2}

    def solved(speed):
        solution = sn.evolve(evolution, t1=0.1, key=jr.key(0), args=speed, **told)
        return solution(0.1, jnp.asarray([0.3]))

    wanted = -0.1 * jnp.pi * jnp.cos(jnp.pi * 0.2)
    assert abs(jax.grad(solved)(jnp.asarray(1.0)) - wanted) < 1e-6
