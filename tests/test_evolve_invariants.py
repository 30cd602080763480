"""Integrals that evolve keeps, their projections and their solver."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.conserving import Conserving, drift
from sobng.evolve.events import with_own_args
from sobng.evolve.features import count, feature_unknown, points_for, rule
from sobng.evolve.integrate import integrate, TERMS
from sobng.evolve.invariants import conserved
from sobng.evolve.moving import moving
from sobng.evolve.projection import galerkin, setting


CIRCLE = sn.Interval(-1.0, 1.0)
ROD = sn.Interval(0.0, 1.0)
START = jnp.asarray(0.0)


def mass(u, x, args):
    return u(x)


def momentum(u, x, args):
    return u(x) ** 2


def kdv(u, t, x, args):
    return -u(x) * sn.partial(u, 0)(x) - 1e-3 * sn.partial(u, 0, 0, 0)(x)


def burgers(u, t, x, args):
    return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


WAVE = sn.Evolution(
    kdv,
    lambda x: 0.3 + jnp.cos(jnp.pi * x[0]),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)
DRIVEN = sn.Evolution(
    burgers,
    lambda x: jnp.sin(jnp.pi * x[0]),
    ROD,
    boundary=[
        sn.Dirichlet(ROD.part("left"), 0.0, name="left"),
        sn.Dirichlet(ROD.part("right"), lambda t, x: jnp.sin(t), name="right"),
    ],
)
GROWTH = sn.Evolution(
    lambda u, t, x, args: jnp.cos(jnp.pi * x[0]) * u(x),
    lambda x: 1.0 + 0.0 * x[0],
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)


def normalised(t, x):
    """A linear flow along a sphere: a multiple of the free one."""
    free = jnp.exp(t * jnp.cos(jnp.pi * x[:, 0]))
    return free / jnp.linalg.norm(free) * len(x) ** 0.5


def on_features(evolution, bandwidth, integrands):
    """A motion of frozen features, its first state and what it keeps."""
    held = conserved(integrands, evolution, None, jr.key(5))
    small = feature_unknown(evolution, 2.0, 8, 0.0, None, jr.key(0))
    made = setting(evolution, small, 0.0, 1.0, None, jr.key(1), also=held.orders)
    num = count(evolution, bandwidth)
    unknown = feature_unknown(evolution, bandwidth, num, 0.0, None, jr.key(2))
    points, weights = rule(evolution, points_for(evolution, bandwidth, num))
    held_out, _ = evolution.domain.interior.sample(16, jr.key(3))
    motion = galerkin(made, unknown, points, weights, held_out, jr.key(4))
    y0, _ = motion.start(START, None)
    return motion, y0, held.on(motion, 0.0, y0, None)


@eqx.filter_jit
def drifted(invariants, motion, t, y):
    return invariants.drift(motion, t, y, None)


@eqx.filter_jit
def sloped(invariants, motion, y):
    return invariants.slopes(motion, START, y, None)[1]


@eqx.filter_jit
def projected(invariants, motion, y, velocity):
    return invariants.tangential(motion, START, y, velocity, None)


@eqx.filter_jit
def restored(invariants, motion, y):
    return invariants.restored(motion, START, y, None)


def kept(integrands, evolution, motion, y0):
    return conserved(integrands, evolution, None, jr.key(5)).on(motion, 0.0, y0, None)


@pytest.fixture(scope="module")
def driven():
    return on_features(DRIVEN, 6.0, [mass, momentum])


@pytest.fixture(scope="module")
def growing():
    return on_features(GROWTH, 20.0, [momentum])


@pytest.mark.slow
def test_mass_and_momentum_of_a_wave_are_kept_to_rounding():
    solution = sn.evolve(
        WAVE, t1=0.1, key=jr.key(0), tolerance=1e-2, conserve=[mass, momentum]
    )
    assert len(solution.stats["drift"]) == 2
    assert max(solution.stats["drift"]) < 1e-14
    x = -1 + (jnp.arange(400.0)[:, None] + 0.5) / 200
    first, last = solution(jnp.asarray([0.0, 0.1]), x)
    # The user's own quadrature, which the waves of the features do not see.
    assert abs(jnp.mean(last - first)) < 1e-12
    assert abs(jnp.mean(last**2 - first**2)) < 1e-12


def test_what_the_projection_takes_from_a_velocity_is_orthogonal_to_the_rest(driven):
    motion, y0, invariants = driven
    velocity = eqx.filter_jit(motion.velocity)(START, y0, None)
    along = projected(invariants, motion, y0, velocity)
    values = lambda t, y: invariants.values(motion, t, y, None)
    change = eqx.filter_jit(jax.jvp)(values, (START, y0), (jnp.ones(()), along))[1]
    assert jnp.max(jnp.abs(change)) < 1e-13 * jnp.linalg.norm(velocity)

    # In the metric of the features, against the saddle-point system.
    slopes = sloped(invariants, motion, y0)
    inverse = np.linalg.pinv(invariants.frame)
    zeros = np.zeros((2, 2))
    saddle = np.block([[inverse.T @ inverse, slopes.T], [np.asarray(slopes), zeros]])
    taken = np.asarray(velocity - along)
    wanted = np.concatenate([np.zeros_like(taken), slopes @ taken])
    expected = np.linalg.lstsq(saddle, wanted)[0][: len(taken)]
    assert np.allclose(taken, expected, rtol=0, atol=1e-12 * np.linalg.norm(taken))

    # And in L2, by the quadrature of the motion.
    still = velocity - invariants.least(slopes, slopes @ velocity)
    one, other = (motion.table.values @ v for v in (taken, still))
    _, weights = rule(DRIVEN, len(one))
    size = jnp.linalg.norm(taken) * jnp.linalg.norm(still)
    assert abs(weights @ (one * other)) < 1e-12 * size


def test_a_disturbed_state_comes_back_to_the_level_set_by_the_shortest_way(driven):
    motion, y0, invariants = driven
    disturbed = y0 * (1 + 1e-3)
    back = restored(invariants, motion, disturbed)
    assert jnp.max(jnp.abs(drifted(invariants, motion, START, back))) < 1e-14
    slopes = sloped(invariants, motion, back)
    steep = invariants.steepness(slopes)
    step = jnp.linalg.pinv(invariants.frame) @ (back - disturbed)
    share = jnp.linalg.lstsq(steep.T, step)[0] @ steep
    # Slopes turn by as much as the state moves.
    assert jnp.linalg.norm(step - share) < 1e-2 * jnp.linalg.norm(step)


END = jnp.asarray(0.25)


def test_a_conserving_path_has_the_order_of_the_solver_inside(growing):
    motion, y0, invariants = growing
    solver, steps = Conserving(dfx.Bosh3(), invariants), dfx.ConstantStepSize()
    errors = []
    for dt0 in (1 / 16, 1 / 32):
        path = integrate(motion, solver, steps, 0.0, 0.25, y0, None, dt0=dt0).path
        wanted = normalised(0.25, motion.table.points)
        errors.append(jnp.linalg.norm(motion.table.values @ path.end - wanted))
        # The interpolation meets the corrected states.
        assert np.max(np.abs(path.infos["correction"])) > 1e-9
        for t in path.ts:
            assert jnp.abs(drifted(invariants, motion, END, path(t))) < 1e-14
        assert max(drift([path])) < 1e-14
    assert abs(jnp.log2(errors[0] / errors[1]) - 3) < 0.3


@pytest.mark.parametrize("implicit", [False, True])
def test_exponential_and_implicit_solvers_conserve(growing, implicit):
    motion, y0, invariants = growing
    solver = dfx.ImplicitEuler() if implicit else sn.ExponentialGauss(motion.rates)
    step = 1e-3 if implicit else 1e-11
    found = dfx.diffeqsolve(
        TERMS,
        Conserving(solver, invariants),
        0.0,
        0.25,
        None,
        y0,
        (motion, None),
        stepsize_controller=dfx.PIDController(rtol=0.0, atol=step),
    )
    (end,) = found.ys
    assert jnp.abs(drifted(invariants, motion, END, end)) < 1e-14
    wanted = normalised(0.25, motion.table.points)
    error = jnp.max(jnp.abs(motion.table.values @ end - wanted))
    assert error < (3e-2 if implicit else 1e-9)


def test_a_steady_state_along_the_level_set_is_found(growing):
    motion, y0, invariants = growing
    told: dict[str, Any] = {
        "terms": TERMS,
        "solver": Conserving(dfx.Heun(), invariants),
    }
    velocity = projected(invariants, motion, y0, motion.velocity(START, y0, None))
    size = jnp.linalg.norm(velocity)
    for slow, wanted in ((0.99, False), (1.01, True)):
        still = dfx.steady_state_event(0.0, float(slow * size), jnp.linalg.norm)
        event: Any = with_own_args(dfx.Event(still))
        both = (motion, None)
        found = event.cond_fn(START, y0, both, stepsize_controller=None, **told)
        assert bool(found) == wanted


def test_all_parameters_move_along_the_level_set(getkey):
    inner = sn.MLP(2, width=6, depth=1, key=getkey())
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    motion = moving(GROWTH, field, 0.0, 1.0, None, getkey(), num=80)
    y, _ = motion.start(START, None)
    invariants = kept([momentum], GROWTH, motion, y)
    along = projected(invariants, motion, y, jr.normal(getkey(), y.shape))
    slopes = sloped(invariants, motion, y)
    assert jnp.max(jnp.abs(slopes @ along)) < 1e-12 * jnp.linalg.norm(slopes)
    back = restored(invariants, motion, y + 1e-4)
    assert jnp.max(jnp.abs(drifted(invariants, motion, START, back))) < 1e-14


def vector(u, x, args):
    return sn.gradient(u)(x)


def shifted(u, x, args):
    return u(x) * u(x + 0.1)


@pytest.mark.parametrize(
    "integrands, says",
    [
        (mass, r"Write `conserve=\[f\]`"),
        ([mass, 1.0], "is a list of integrands"),
        ([vector], r"`vector` of `conserve` returns float64 of shape \(1,\)"),
        ([lambda u, x: u(x)], "cannot be evaluated at a point"),
        ([lambda u, x, args: jnp.log(-(u(x) ** 2))], "not finite"),
        ([shifted], "elsewhere than at its point"),
    ],
)
def test_what_is_no_integrand_is_refused(integrands, says):
    with pytest.raises(ValueError, match=says):
        sn.evolve(GROWTH, key=jr.key(0), conserve=integrands)


@pytest.mark.parametrize(
    "integrands, says",
    [
        ([lambda u, x, args: 1.0 + 0 * u(x)], "does not change to first order"),
        ([lambda u, x, args: jnp.sqrt(u(x) - u(x))], "not finite"),
        ([mass, lambda u, x, args: 2 * u(x)], "`mass`, `<lambda>` change together"),
    ],
)
def test_integrals_that_no_field_can_keep_are_refused(growing, integrands, says):
    motion, y0, _ = growing
    with pytest.raises(ValueError, match=says):
        kept(integrands, GROWTH, motion, y0)


def test_more_integrals_than_parameters_are_refused(growing):
    motion, y0, _ = growing
    held = conserved([momentum], GROWTH, None, jr.key(5))
    with pytest.raises(ValueError, match="names 1 integrands, and the field has 0"):
        held.on(motion, 0.0, y0[:0], None)
