"""Features in slabs of time and in coordinates that stretch fronts."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fronts import context_of, SMOOTH
from test_solve import killed_and_resumed

import sobng as sn
from sobng.fields.time_slabs import OVERLAP, piece_of, with_piece
from sobng.solvers.adaptor import bind, init_solver, run_steps
from sobng.solvers.marching import marches


INTERVAL = sn.Interval(-1.0, 1.0)


def wave(x):
    """A front that moves."""
    return jnp.tanh((x[1] - x[0] / 2) / 0.3)


def carried(u, x, args):
    """Transport, which compiles sooner."""
    return sn.partial(u, 0)(x) + sn.partial(u, 1)(x) / 2


def steep(u, x, args):
    """Burgers' equation with a source."""

    def rate(v):
        diffusion = 0.15 * sn.partial(v, 1, 1)(x)
        return sn.partial(v, 0)(x) + v(x) * sn.partial(v, 1)(x) - diffusion

    return rate(u) - rate(wave)


def travelling(equation=carried, exact=True):
    domain = sn.Interval(0.0, 1.0) * INTERVAL
    return sn.Problem(
        sn.Condition(equation, domain.interior, name="equation"),
        sn.Dirichlet(domain.initial, wave, exact, name="start"),
        sn.Dirichlet(domain.lateral, wave, exact, name="walls"),
    )


def context(problem, unknown, **changes):
    given = {"unknown": unknown, "done": ("fronts",)} | changes
    return dataclasses.replace(context_of(problem), **given)


def rough(x):
    """What a network may have found."""
    return wave(x) + 1e-2 * jnp.sin(3 * x[0]) * jnp.cos(2 * x[1])


def solved(problem, stage):
    context_now = context(problem, rough)
    unknown = stage.prepare(context_now)
    moves = sn.linear_leaves(unknown)
    system = sn.System(problem, unknown, context_now.training, moves=moves)
    solver, params = bind(sn.Marching(), system), system.params
    state = init_solver(solver, system, params, None)
    for _ in range(60):
        params, state, look = run_steps(solver, system, params, state, None, 1)
        if look.done:
            return system.unknown(params)
    raise AssertionError("Slabs are left.")


def error_of(u, problem):
    points, _ = problem.domain.interior.sample(1024, jax.random.key(7))
    found, exact = (jax.jit(jax.vmap(f))(jnp.asarray(points)) for f in (u, wave))
    return float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact))


def field(key=0, slabs=4):
    features = sn.with_bandwidth(
        sn.sine_features(2, num=20, key=jax.random.key(key)), 3.0
    )
    slabs = sn.TimeSlabs(features, slabs)
    drawn = jax.random.normal(jax.random.key(9), slabs.coefficients.shape)
    return eqx.tree_at(lambda s: s.coefficients, slabs, drawn)


def test_equal_widths_on_a_circle_stretch_nothing():
    even = sn.Stretching((0.0, 0.0), (2.0, 3.0), np.ones((17, 33)), periodic=True)
    x = jnp.array([0.3, 2.2])
    # Rounding.
    assert jnp.allclose(even(x), jnp.array([-0.7, 2 * 2.2 / 3 - 1]), atol=1e-12)
    assert jnp.allclose(jax.jacobian(even)(x), jnp.diag(jnp.array([1.0, 2 / 3])))


@pytest.mark.parametrize("periodic", [True, False])
def test_a_stretching_is_undone_by_its_inverse(periodic):
    places = np.linspace(0.0, 1.0, 65)
    widths = np.broadcast_to(0.05 + (places - 0.4) ** 2, (12, 65))
    stretching = sn.Stretching((0.0, 0.0), (1.0, 1.0), widths, periodic=periodic)
    cell = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    points, slopes = stretching.inverse(cell)
    found, slope = jax.vmap(lambda x: (stretching(x), jax.jacobian(stretching)(x)))(
        jnp.asarray(points)
    )
    # Bisection to rounding.
    assert np.allclose(found, cell, atol=1e-12)
    assert np.allclose(slope[:, 1, 1] * slopes, 1.0)
    # The place of the least width has the most room.
    near, far = (stretching.inverse(np.array([[0.0, s]]))[1][0] for s in (-0.1, 0.9))
    assert near < far


def test_a_stretching_has_slopes_at_its_samples():
    stretching = sn.Stretching((0.0, 0.0), (1.0, 1.0), np.ones((17, 17)))
    for point in ([0.5, 0.5], [0.0, 0.0], [1.0, 1.0]):
        bend = jax.jacfwd(jax.jacfwd(stretching))(jnp.array(point))
        assert jnp.all(jnp.isfinite(bend))


def test_widths_are_checked():
    with pytest.raises(ValueError, match="positive widths"):
        sn.Stretching((0.0, 0.0), (1.0, 1.0), np.zeros((17, 17)))
    with pytest.raises(ValueError, match="ten times and places"):
        sn.Stretching((0.0, 0.0), (1.0, 1.0), np.ones((9, 17)))


def test_slabs_go_over_into_one_another_smoothly():
    u = field()
    at = lambda t: u(jnp.stack([t, jnp.asarray(0.3)]))
    slope = jax.grad(at)
    jets = jax.jit(lambda t: jnp.stack([at(t), slope(t), jax.grad(slope)(t)]))
    # Where the second of four slabs begins, and where it has taken over.
    for joint in (-0.5, -0.5 + OVERLAP / 2):
        near = (jets(jnp.asarray(joint + gap)) for gap in (-1e-9, 1e-9))
        # The third derivative is a hundred thousand, times 2e-9.
        assert jnp.allclose(*near, atol=1e-3)


def test_a_slab_is_its_piece_and_can_be_put_back():
    u = field()
    middle = jnp.array([-0.2, 0.4])
    assert jnp.allclose(piece_of(u, 1)(middle), u(middle))
    changed = eqx.tree_at(
        lambda p: p.field.biases[1], piece_of(u, 1), replace_fn=lambda b: b + 1
    )
    assert jnp.allclose(with_piece(u, 1, changed)(middle), u(middle) + 1)


def test_slabs_are_linear_in_their_coefficients_alone():
    u = field()
    moving, _ = eqx.partition(u, sn.linear_leaves(u))
    assert sum(a.size for a in jax.tree.leaves(moving)) == 4 * 21
    double = eqx.tree_at(lambda s: s.coefficients, u, 2 * u.coefficients)
    x = jnp.array([-0.49, 0.4])
    assert jnp.allclose(double(x), 2 * u(x))


def test_slabs_need_features():
    with pytest.raises(ValueError, match="one hidden layer"):
        sn.TimeSlabs(sn.MLP(2, depth=2, key=jax.random.key(0)), 3)


def test_slabs_are_saved_and_read(tmp_path):
    stretching = sn.Stretching((0.0, -1.0), (1.0, 1.0), np.ones((17, 17)))
    u = sn.Stretched(field(), stretching)
    solution = sn.Solution(
        u, domain=SMOOTH.domain, result=sn.RESULTS.converged, stats={}, history={}
    )
    solution.save(tmp_path / "slabs.sobng")
    x = jnp.array([[0.3, 0.2], [0.9, -0.4]])
    assert np.array_equal(sn.load(tmp_path / "slabs.sobng")(x), solution(x))


@pytest.fixture
def coarse(monkeypatch):
    """A table of few samples: the fronts here are wide."""
    monkeypatch.setattr("sobng.stages.slabs.TIMES", 17)
    monkeypatch.setattr("sobng.stages.slabs.PLACES", 129)


def test_a_front_is_marched_through_and_its_error_is_known(coarse):
    problem = travelling()
    u = solved(problem, sn.Slabs(3, 250))
    error = error_of(u, problem)
    assert error < 1e-4
    estimate = sn.estimate_error(problem, u, None, key=jax.random.key(5))
    assert 0.3 < estimate.error / error < 3


@pytest.mark.slow
def test_a_front_is_marched_through_between_penalties(coarse):
    problem = travelling(steep, exact=False)
    u = solved(problem, sn.Slabs(3, 250))
    assert error_of(u, problem) < 1e-3


def test_slabs_want_conditions_at_the_start_and_the_sides_alone():
    assert marches(SMOOTH)
    assert marches(travelling())
    domain = sn.Interval(0.0, 1.0) * INTERVAL
    equation = sn.Condition(carried, domain.interior, name="equation")
    assert not marches(sn.Problem(equation, sn.Dirichlet(domain.final, 0.0)))
    assert not marches(sn.Problem(equation, sn.Dirichlet(domain.boundary, 0.0)))
    plane = sn.Interval(0.0, 1.0) * sn.Box((0.0, 0.0), (1.0, 1.0))
    assert not marches(sn.Problem(sn.Condition(carried, plane.interior, name="e")))
    assert not marches(sn.Problem(sn.Condition(carried, INTERVAL.interior, name="e")))


def test_slabs_come_after_fronts_that_are_not_good_enough():
    stage, network = sn.Slabs(), sn.MLP(2, width=20, depth=3, key=jax.random.key(0))
    now = lambda unknown=network, **changes: context(SMOOTH, unknown, **changes)
    assert stage.wanted(now())
    assert not stage.wanted(now(done=("last-layer",)))
    assert not stage.wanted(now({"u": network}))
    assert not stage.wanted(now(error=1e-9))
    assert not stage.wanted(now(owned=False))


@pytest.mark.slow
def test_a_run_killed_in_its_slabs_resumes(tmp_path):
    stages = (
        sn.LastLayer(bandwidth=False, max_steps=1),
        sn.Fronts(max_steps=20),
        sn.Slabs(3, 60),
    )

    def run(**options):
        return sn.solve(SMOOTH, stages=stages, key=jax.random.key(0), **options)

    whole = run()
    assert whole.stats["stages"] == ("last-layer", "fronts", "slabs")
    begun = min(i for i, name in enumerate(whole.history["stage"]) if name == "slabs")
    step = int(whole.history["step"][begun]) + 2
    moving = lambda r: r.stage == "slabs" and r.step == step
    resumed = killed_and_resumed(run, tmp_path, every=1, when=moving)
    x = jnp.linspace(0.0, 1.0, 7)
    x = jnp.stack([x, -x], axis=1)
    assert np.array_equal(whole(x), resumed(x))
