"""Runge-Kutta steps of functions, fitted by Gauss-Newton corrections."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.integrate import TERMS
from sobng.evolve.moving import moving
from sobng.fields.partition import combine, linear_leaves


CIRCLE = sn.Interval(-1.0, 1.0)
X = jnp.linspace(-1.0, 1.0, 65)[:, None]
START = lambda x: jnp.sin(jnp.pi * x[..., 0])


def heat(u, t, x, args):
    return 0.1 * sn.laplacian(u)(x)


def shift(u, t, x, args):
    return -sn.partial(u, 0)(x)


def in_motion(rhs):
    """A small tanh network whose last layer is fitted to the initial values."""
    inner = sn.MLP(2, width=16, depth=1, key=jr.key(0), bandwidth=0.3)
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    leaves, rest = eqx.partition(field, linear_leaves(field))
    flat, unravel = jfu.ravel_pytree(leaves)
    values = lambda c: jax.vmap(combine(unravel(c), rest))(X)
    matrix = jax.jacfwd(values)(flat)
    target = START(X) - values(jnp.zeros_like(flat))
    last, *_ = jnp.linalg.lstsq(matrix, target, rcond=1e-13)
    field = combine(unravel(last), rest)
    periodic = [sn.Periodic(CIRCLE, 0)]
    evolution = sn.Evolution(rhs, START, CIRCLE, boundary=periodic)
    return moving(evolution, field, 0.0, 1.0, None, jr.key(1), num=120)


@eqx.filter_jit
def at_end(motion, solver, end, step):
    y0, _ = motion.start(jnp.asarray(0.0), None)
    both = (motion, None)
    found = dfx.diffeqsolve(TERMS, solver, 0.0, end, step, y0, both)
    return jax.vmap(motion.field(end, found.ys[-1], None))(X)


def errors_of(motion, solver, end, exact):
    """With ever half the steps: one, two, four."""
    steps = end / 2.0 ** jnp.arange(3.0)
    found = [at_end(motion, solver, end, step) for step in steps]
    return jnp.stack([jnp.max(jnp.abs(values - exact)) for values in found])


def orders(errors):
    return jnp.log2(errors[:-1] / errors[1:])


@pytest.mark.slow
def test_implicit_steps_of_a_network_have_the_order_of_the_method():
    motion = in_motion(heat)
    solver = sn.FittedRungeKutta(dfx.Kvaerno3(), corrections=8)
    exact = jnp.exp(-0.1 * jnp.pi**2) * START(X)
    errors = errors_of(motion, solver, 1.0, exact)
    assert jnp.all(abs(orders(errors) - 3) < 0.4)


def test_explicit_steps_of_a_network_have_the_order_of_the_method():
    motion = in_motion(shift)
    solver = sn.FittedRungeKutta(dfx.Heun(), corrections=8)
    exact = START(X - 0.25)
    errors = errors_of(motion, solver, 0.25, exact)
    assert jnp.all(abs(orders(errors) - 2) < 0.4)


@pytest.mark.slow
def test_evolve_takes_implicit_steps_of_a_network_as_long_as_its_errors_allow():
    evolution = sn.Evolution(heat, START, CIRCLE, boundary=[sn.Periodic(CIRCLE, 0)])
    inner = sn.MLP(2, width=12, depth=1, key=jr.key(0))
    solver = sn.FittedRungeKutta(dfx.Kvaerno3(), corrections=4)
    found = sn.evolve(
        evolution,
        sn.PeriodicEmbedding(inner, {0: 2.0}),
        key=jr.key(0),
        solver=solver,
        stepsize_controller=dfx.PIDController(rtol=1e-5, atol=1e-8),
        time_limit=120.0,
    )
    wanted = jnp.exp(-0.1 * jnp.pi**2) * START(X)
    error = jnp.linalg.norm(found(1.0, X) - wanted) / jnp.linalg.norm(wanted)
    assert found.stats["motion"] == "all parameters"
    steps = np.diff(found.history["time"])
    assert error < 1e-3 and len(steps) < 200 and np.max(steps) > 2 * np.min(steps)
    assert 0.1 * error < found.error < 10 * error


@pytest.mark.parametrize("solver", [dfx.Euler, dfx.KenCarp3, int])
def test_methods_without_stages_of_one_tableau_are_refused(solver):
    with pytest.raises(ValueError, match="Runge-Kutta method of Diffrax"):
        sn.FittedRungeKutta(solver())
