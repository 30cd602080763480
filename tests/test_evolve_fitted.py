"""Runge-Kutta steps of functions, fitted or corrected by Gauss-Newton corrections."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.correcting import Correcting
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
    # Between the steps it is as good as at their ends.
    for t in found.ts[1:]:
        wanted = jnp.exp(-0.1 * jnp.pi**2 * t) * START(X)
        apart = jnp.linalg.norm(found(t, X) - wanted) / jnp.linalg.norm(wanted)
        assert apart < 1e-3


def test_a_fitted_step_is_a_smooth_path_of_functions_between_its_ends():
    motion = in_motion(shift)
    y0, _ = motion.start(jnp.asarray(0.0), None)
    found = dfx.diffeqsolve(
        TERMS,
        sn.FittedRungeKutta(dfx.Heun(), corrections=8),
        0.0,
        0.125,
        1 / 16,
        y0,
        (motion, None),
        saveat=dfx.SaveAt(ts=jnp.linspace(0.0, 0.125, 9)),
    )
    for t, y in zip(found.ts, found.ys, strict=True):
        values = jax.vmap(motion.field(t, y, None))(X)
        assert jnp.max(jnp.abs(values - START(X - t))) < 0.02


@pytest.mark.parametrize("solver", [dfx.Euler, dfx.KenCarp3, int])
def test_methods_without_stages_of_one_tableau_are_refused(solver):
    with pytest.raises(ValueError, match="Runge-Kutta method of Diffrax"):
        sn.FittedRungeKutta(solver())


def one_step(motion, solver, step):
    """The field after one step, and what was recorded of it."""
    y0, _ = motion.start(jnp.asarray(0.0), None)
    both = (motion, None)
    state = solver.init(TERMS, 0.0, step, y0, both)
    y, _, told, _, _ = solver.step(TERMS, 0.0, step, y0, both, state, made_jump=False)
    return jax.vmap(motion.field(step, y, None))(X), told


def test_a_corrected_step_ends_nearer_to_what_the_method_makes_of_functions():
    motion = in_motion(shift)
    values, told = eqx.filter_jit(one_step)(motion, Correcting(dfx.Euler(), 4), 0.01)
    before, after = told["mismatch"]
    assert after < 0.1 * before and 1 <= told["count"] <= 4
    # Euler's step of the function, but for 1e-8 by which the field misses `START`.
    wanted = START(X) - 0.01 * jnp.pi * jnp.cos(jnp.pi * X[:, 0])
    assert jnp.linalg.norm(values - wanted) < 1e-7 * jnp.linalg.norm(wanted)
    assert before > 1e-6


@pytest.mark.slow
def test_corrected_steps_keep_the_order_and_evolve_tells_of_them():
    motion, exact = in_motion(shift), START(X - 0.25)
    errors = errors_of(motion, Correcting(dfx.Bosh3(), 8), 0.25, exact)
    assert jnp.all(abs(orders(errors) - 3) < 0.5)

    evolution = sn.Evolution(shift, START, CIRCLE, boundary=[sn.Periodic(CIRCLE, 0)])
    field = sn.PeriodicEmbedding(sn.MLP(2, width=8, depth=1, key=jr.key(0)), {0: 2.0})
    found = sn.evolve(
        evolution, field, key=jr.key(0), t1=0.1, corrections=2, time_limit=60.0
    )
    steps = found.stats["num_steps"]
    before, after = found.stats["mismatch"]
    assert 0 < found.stats["corrections"] <= 2 * steps and after <= before
