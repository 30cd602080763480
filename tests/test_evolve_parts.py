"""The parts of evolve: rates, exponential steps, Taylor functions, projections."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.clock import Clock
from sobng.evolve.blow_up import blows_up
from sobng.evolve.exponential import legendre_integrals, phi_functions
from sobng.evolve.features import count, feature_unknown, points_for, rule
from sobng.evolve.galerkin import Table
from sobng.evolve.growth import _too_slow, Rungs
from sobng.evolve.integrate import integrate
from sobng.evolve.journal import Journal, Part
from sobng.evolve.moving import moving
from sobng.evolve.projection import galerkin, setting
from sobng.evolve.rates import diagonalised, Rates
from sobng.evolve.report import is_lost
from sobng.evolve.steps import size_of, Steps
from sobng.evolve.taylor import needed_orders
from sobng.linalg.damped import damped_solution
from sobng.metrics.sobolev import VALUES


CIRCLE = sn.Interval(-1.0, 1.0)


def burgers(u, t, x, args):
    return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


EVOLUTION = sn.Evolution(
    burgers,
    lambda x: -jnp.sin(jnp.pi * x[0]),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)


def on_features(evolution, bandwidth, end, jet=VALUES):
    """The motion of so many frozen features."""
    small = feature_unknown(evolution, 2.0, 8, 0.0, None, jr.key(0))
    made = setting(evolution, small, 0.0, end, None, jr.key(1), jet=jet)
    num = count(evolution, bandwidth)
    unknown = feature_unknown(evolution, bandwidth, num, 0.0, None, jr.key(2))
    points, weights = rule(evolution, points_for(evolution, bandwidth, num))
    held_out, _ = evolution.domain.interior.sample(64, jr.key(3))
    return galerkin(made, unknown, points, weights, held_out, jr.key(4))


def calm(motion):
    """The solver and the steps that a tolerance of 1e-10 asks for."""
    steps = dfx.PIDController(rtol=0.0, atol=1e-11)
    return sn.ExponentialGauss(motion.rates), steps


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_what_doubles_ever_sooner_blows_up_before_it_is_infinite(power):
    ts = 1 - 2.0 ** -np.arange(0, 12, 0.3)
    size = (1 - ts) ** -power
    assert blows_up(ts, size, 1.5, 10.0)
    assert not blows_up(ts, size, 0.9999, 10.0)  # the run ends before
    assert not blows_up(ts, size, 1.5, 1e8)  # not large yet


def test_what_only_grows_does_not_blow_up():
    ts = np.linspace(0.0, 1.0, 60)
    for size in (np.exp(8 * ts), 1 + 100 * ts, 50 * np.tanh(8 * (ts - 0.5)) + 51):
        assert not blows_up(ts, size, 5.0, 10.0)


@pytest.fixture(scope="module")
def frozen():
    return on_features(EVOLUTION, 12.0, 0.5)


def at_end(motion, solver, controller, **options):
    y0, _ = motion.start(jnp.asarray(0.0), None)
    trip = integrate(motion, solver, controller, 0.0, 0.5, y0, None, **options)
    return np.asarray(motion.table.values @ trip.path.end), trip


@pytest.mark.parametrize("seed", range(2))
def test_rates_and_their_basis_diagonalise_a_matrix(seed):
    matrix = np.random.default_rng(seed).normal(size=(7, 7))
    rates, basis = diagonalised(matrix)
    moved = np.asarray(jax.vmap(rates)(jnp.eye(7))).T
    assert np.allclose(matrix @ basis, basis @ moved, atol=1e-11)


def test_a_matrix_without_eigenvectors_keeps_a_safe_basis():
    jordan = np.diag(np.full(5, -1.0)) + np.diag(np.ones(4), 1)
    rates, basis = diagonalised(jordan)
    assert np.linalg.cond(basis) < 1e3
    assert np.allclose(rates.real, -1.0)


def test_no_mode_of_a_wave_between_walls_grows():
    string = sn.Interval(0.0, 1.0)
    wave = sn.second_order(
        lambda u, t, x, args: 4 * sn.laplacian(u)(x),
        lambda x: jnp.sin(jnp.pi * x[0]),
        lambda x: 0.0 * x[0],
        string,
        boundary=[sn.Dirichlet(string.boundary, 0.0)],
    )
    for bandwidth in (40.0, 60.0):
        rates = on_features(wave, bandwidth, 1.0).rates
        # Noise in the derivatives of nearly dependent features would give rates of up to
        # a hundred; one is a factor of e in the time of the run.
        assert float(jnp.max(rates.decay)) < 2


def test_phi_functions_agree_with_quadrature():
    z = jnp.asarray([0.0, 1e-3, -1.9, 1.9j, 2.1, -3 + 2j, -50.0, 40j])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes, weights = (1 + nodes) / 2, weights / 2
    found = phi_functions(z, 4)
    for k, factorial in zip(range(1, 5), (1, 1, 2, 6), strict=True):
        kernel = np.exp((1 - nodes) * np.asarray(z)[:, None]) * nodes ** (k - 1)
        assert np.allclose(found[k - 1], kernel @ weights / factorial, rtol=1e-12)


def test_integrals_of_legendre_polynomials_without_a_rate_are_theirs():
    found = legendre_integrals(1.0, jnp.zeros(1, complex), 5)[:, 0]
    assert np.allclose(found, [1, 0, 0, 0, 0], atol=1e-14)


def test_the_order_of_exponential_steps_is_twice_their_stages():
    rates = Rates(jnp.asarray([-4.0]), jnp.asarray([-0.1]), jnp.asarray([3.0]))

    def field(t, y, args):
        return rates(y) + 0.5 * jnp.sin(jnp.sum(y) + t)

    def end(step, stages):
        solver = sn.ExponentialGauss(rates, stages=stages, iterations=60)
        y0 = jnp.asarray([1.0, 0.5, -0.3])
        term = dfx.ODETerm(field)
        return dfx.diffeqsolve(term, solver, 0.0, 1.0, step, y0).ys[0]

    exact = end(1 / 64, 6)
    for stages in (1, 2):
        errors = [
            jnp.linalg.norm(end(h, stages) - exact) for h in (1 / 16, 1 / 32, 1 / 64)
        ]
        order = jnp.log2(errors[0] / errors[-1]) / 2
        assert order > 2 * stages - 0.5


def test_a_linear_equation_takes_one_exponential_step():
    rates = Rates(jnp.asarray([-1e4, -1.0]), jnp.zeros(0), jnp.zeros(0))
    term = dfx.ODETerm(lambda t, y, args: rates(y))
    y0 = jnp.ones(2)
    found = dfx.diffeqsolve(
        term,
        sn.ExponentialGauss(rates),
        0.0,
        3.0,
        3.0,
        y0,
        saveat=dfx.SaveAt(ts=jnp.asarray([0.5, 3.0])),
    )
    assert np.allclose(found.ys[:, 1], np.exp([-0.5, -3.0]), rtol=1e-14)


def test_needed_derivatives_are_found():
    fields = [lambda x: jnp.sin(3 * x[0] + x[1]), lambda x: jnp.cos(x[0] - 2 * x[1])]
    points = jr.uniform(jr.key(0), (5, 2))
    found = needed_orders(lambda u, x: u(x) * sn.laplacian(u)(x), fields, points)
    assert found == ((0, 0), (0, 2), (2, 0))
    shifted = lambda u, x: u(x + 0.5) - u(x)
    assert needed_orders(shifted, fields, points) is None


def test_derivatives_are_found_where_a_root_of_negative_trials_is_not_finite():
    fields = [lambda x, k=k: jnp.sin(k * x[0] + 0.3) for k in (1.0, 3.0)]
    points = jnp.linspace(-1.0, 1.0, 16)[:, None]
    found = needed_orders(lambda u, x: u(x) ** 1.5, fields, points)
    assert found == ((0,),)
    rhs = lambda u, x: jnp.log(u(x)) + sn.laplacian(u)(x)
    assert needed_orders(rhs, fields, points) == ((0,), (2,))
    shifted = lambda u, x: jnp.sqrt(u(x)) + u(x + 0.1)
    assert needed_orders(shifted, fields, points) is None
    nowhere = lambda u, x: jnp.sqrt(-1 - u(x) ** 2)
    assert needed_orders(nowhere, fields, points) is None


def test_a_damped_solution_agrees_with_the_normal_equations(getkey):
    matrix, target = jr.normal(getkey(), (12, 5)), jr.normal(getkey(), (12,))
    damping = 0.1 * jnp.linalg.norm(matrix) / 5**0.5
    gram = matrix.T @ matrix + damping**2 * jnp.eye(5)
    expected = jnp.linalg.solve(gram, matrix.T @ target)
    assert jnp.allclose(damped_solution(matrix, target, 0.1), expected, rtol=1e-12)


def test_frozen_features_hold_the_initial_values_to_rounding(frozen):
    y0, miss = frozen.start(jnp.asarray(0.0), None)
    assert miss < 1e-12
    field = frozen.field(jnp.asarray(0.0), y0, None)
    x = jnp.linspace(-1.0, 1.0, 33)[:, None]
    # The coefficients have lost digits to near dependence, the field has not.
    assert jnp.allclose(jax.vmap(field)(x), -jnp.sin(jnp.pi * x[:, 0]), atol=1e-11)


def test_fields_at_other_times_compile_nothing(frozen):
    motion = frozen
    y, _ = motion.start(0.0, None)
    motion.fit(motion.field(0.0, y, None), 0.0, None)
    clock = Clock().start()
    motion.fit(motion.field(0.25, y, None), 0.25, None)
    clock.stop()
    assert clock.compilations == 0


def test_the_misfit_of_a_kink_is_seen_where_no_held_out_point_is(frozen):
    kink = lambda x: jnp.abs(x[0])
    table = frozen.held_out
    far = int(jnp.argmin(jnp.abs(table.points[:, 0] - 0.5)))
    entries = table.entries.reshape(len(table.orders), len(table.points), -1)
    one = Table(table.points[far][None], entries[:, far], table.orders, table.out)
    motion = eqx.tree_at(lambda m: m.held_out, frozen, one)
    y, miss = motion.fit(kink, 0.0, None)
    x = jnp.linspace(-1.0, 1.0, 2001)[:-1, None]
    wanted = jax.vmap(kink)(x)
    field = motion.field(jnp.asarray(0.0), y, None)
    error = jnp.linalg.norm(jax.vmap(field)(x) - wanted) / jnp.linalg.norm(wanted)
    assert 0.5 * error < miss < 2 * error


def test_the_projected_velocity_leaves_a_residual_orthogonal_to_the_features(frozen):
    y0, _ = frozen.start(jnp.asarray(0.0), None)
    rows = frozen.rate(frozen.table, jnp.asarray(0.0), y0, None)
    left = rows - frozen.table.values @ frozen.velocity(0.0, y0, None)
    assert jnp.linalg.norm(frozen.project @ left) < 1e-10 * jnp.linalg.norm(rows)


def test_halving_the_steps_of_a_diffrax_solver_shows_its_order(frozen):
    exact, _ = at_end(frozen, *calm(frozen))
    steps = dfx.ConstantStepSize()
    errors = [
        np.linalg.norm(at_end(frozen, dfx.Bosh3(), steps, dt0=h)[0] - exact)
        for h in (1 / 512, 1 / 1024)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - 3) < 0.2


def test_all_parameters_move_along_the_orthogonal_projection(getkey):
    inner = sn.MLP(2, width=6, depth=1, key=getkey())
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    motion = moving(EVOLUTION, field, 0.0, 1.0, None, getkey(), num=80)
    y, _ = motion.start(jnp.asarray(0.0), None)
    scale = jnp.sqrt(motion.weights)
    matrix = motion.jacobian(lambda y: motion.field(0.0, y, None), y) * scale[:, None]
    target = motion.rows(motion.wanted(0.0, y, None)) * scale
    velocity = motion.velocity(0.0, y, None)
    left = target - matrix @ velocity
    damping = motion.damping * jnp.linalg.norm(matrix) / y.size**0.5
    normal = matrix.T @ left - damping**2 * velocity
    # What a backward stable solution leaves, whose parts are far larger than their sum.
    norm = jnp.linalg.norm
    parts = norm(matrix) * (norm(matrix) * norm(velocity) + norm(target))
    assert norm(normal) < 10 * jnp.finfo(parts.dtype).eps * parts
    assert norm(normal) < 1e-9 * norm(matrix.T @ target)


def test_points_follow_the_slopes_with_weights_of_an_integral(getkey):
    inner = sn.MLP(2, width=6, depth=1, key=getkey(), bandwidth=4.0)
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    motion = moving(EVOLUTION, field, 0.0, 1.0, None, getkey(), num=400)
    assert abs(jnp.sum(motion.weights) - 2.0) < 0.02
    mean = motion.weights @ motion.points[:, 0] ** 2
    assert abs(mean - 2 / 3) < 0.02


@pytest.mark.slow
def test_a_wall_that_moves_in_time_is_followed_exactly():
    # u = x sin t + exp(-t) sin(pi x), with the source that belongs to it.
    def rhs(u, t, x, args):
        fade = (jnp.pi**2 - 1) * jnp.exp(-t) * jnp.sin(jnp.pi * x[0])
        return sn.laplacian(u)(x) + x[0] * jnp.cos(t) + fade

    rod = sn.Interval(0.0, 1.0)
    evolution = sn.Evolution(
        rhs,
        lambda x: jnp.sin(jnp.pi * x[0]),
        rod,
        boundary=[
            sn.Dirichlet(rod.part("left"), 0.0, name="left"),
            sn.Dirichlet(rod.part("right"), lambda t, x: jnp.sin(t), name="right"),
        ],
    )
    motion = on_features(evolution, 16.0, 0.5)
    _, trip = at_end(motion, *calm(motion))
    u = motion.field(jnp.asarray(0.5), trip.path.end, None)
    x = jnp.linspace(0.0, 1.0, 41)[:, None]
    wanted = x[:, 0] * jnp.sin(0.5) + jnp.exp(-0.5) * jnp.sin(jnp.pi * x[:, 0])
    assert jnp.max(jnp.abs(jax.vmap(u)(x) - wanted)) < 1e-8
    assert abs(u(jnp.asarray([1.0])) - jnp.sin(0.5)) < 1e-15


@pytest.mark.slow
def test_insulated_walls_are_kept_by_rows_and_an_event_ends_the_run():
    rod = sn.Interval(0.0, 1.0)
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) / 4,
        lambda x: jnp.cos(jnp.pi * x[0]),
        rod,
        boundary=[sn.Neumann(rod.boundary, 0.0)],
    )
    motion = on_features(evolution, 16.0, 0.5)
    event = dfx.Event(lambda t, y, args, **kwargs: t > 0.3)
    solver, steps = calm(motion)
    _, trip = at_end(motion, solver, steps, event=event, dt0=0.1)
    assert bool(trip.result == sn.RESULTS.event_occurred)
    assert 0.3 < trip.reached <= 0.5
    end = jnp.asarray(trip.reached)
    u = motion.field(end, trip.path.end, None)
    x = jnp.linspace(0.0, 1.0, 41)[:, None]
    wanted = jnp.exp(-(jnp.pi**2) / 4 * end) * jnp.cos(jnp.pi * x[:, 0])
    assert jnp.max(jnp.abs(jax.vmap(u)(x) - wanted)) < 1e-7


def test_features_hold_what_is_smooth_on_a_polygon():
    corners = ((0, 0), (1, 0), (1, 1), (-1, 1), (-1, -1), (0, -1))
    l_shape = sn.Polygon(tuple((float(x), float(y)) for x, y in corners))
    heat = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x),
        lambda x: jnp.prod(jnp.sin(jnp.pi * x)),
        l_shape,
        boundary=[sn.Dirichlet(l_shape.boundary, 0.0)],
    )
    _, miss = on_features(heat, 18.0, 1.0).start(0.0, None)
    # A factor that vanishes on all edges has a corner in each vertex, and left 9e-4.
    assert float(miss) < 1e-5


def test_no_more_features_are_made_than_there_is_time_for(frozen):
    left = [10.0]

    def make(number):
        left[0] -= 0.1 * 8**number
        return frozen

    rungs = Rungs(make, [100, 200, 400, 800], seconds_left=lambda: left[0])
    assert rungs.reaches(1)  # how long they take is not known before the first ones
    rungs[0], rungs[1]
    assert not rungs.reaches(2)  # 6.4 of 9.1 seconds, and another run would follow
    assert rungs.late and rungs.reaches(1)


def test_what_a_time_limit_left_out_is_left_out_again(tmp_path):
    made = []
    for late in (True, False):  # a resumed run has more time, and repeats the first one
        journal = Journal(sn.Checkpoint(tmp_path / "run"), Clock())
        journal.before, journal.parts = made, []
        part = journal.part()
        assert journal.refused(lambda late=late: late)
        made = [Part(part.entries)]
    assert not journal.refused(lambda: False)


def test_features_that_gain_too_slowly_are_seen_not_to_do():
    falling = [1e-2, 3.5e-3, 1.2e-3]  # as where a wall is contradicted
    assert _too_slow(falling, 4, 1e-7)
    assert not _too_slow(falling, 4, 1e-4)
    assert not _too_slow([1e-2, 1e-4, 1e-7], 2, 1e-12)


def test_a_state_at_rest_is_measured_by_where_it_goes():
    rod = sn.Interval(0.0, 1.0)
    heated = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) + jnp.sin(4 * t) * jnp.pi**2,
        lambda x: 0.0 * x[0],
        rod,
        boundary=[sn.Dirichlet(rod.boundary, 0.0)],
    )
    motion = on_features(heated, 12.0, 1.0)
    y, _ = motion.start(jnp.asarray(0.0), None)
    # A stationary field of that source is pi^2 x (1 - x) / 2, of norm 0.9.
    assert 0.3 < size_of(motion, y, 0.0, 1.0, None) < 3
    assert size_of(motion, y + 1, 0.0, 1.0, None) == np.linalg.norm(y + 1)
    solver, steps = Steps().of(motion, y, 1e-6, 0.9)
    trip = integrate(motion, solver, steps, 0.0, 1.0, y, None)
    assert bool(trip.result == sn.RESULTS.successful) and trip.steps < 100


def test_a_field_that_starts_at_zero_may_miss_a_part_of_where_it_goes(getkey):
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) + 1.0, lambda x: 0.0 * x[0], CIRCLE
    )
    inner = sn.MLP(1, width=4, depth=1, key=getkey())
    field = jax.tree.map(lambda a: 1e-9 * a if eqx.is_array(a) else a, inner)
    motion = moving(evolution, field, 0.0, 2.0, None, getkey(), num=32)
    _, miss = motion.start(0.0, None)
    size = jnp.sqrt(jnp.mean(motion.seen * jax.vmap(field)(motion.held_out) ** 2))
    # It would come to two, and a thousandth of that is its size.
    assert jnp.isclose(miss, size / 2e-3, rtol=1e-3)


def test_features_that_miss_most_of_the_equation_tell_no_error():
    # A square whose walls ask for more than smooth functions can do in its corners: two
    # runs agreed to 0.03, and were wrong by 0.2.
    assert is_lost(np.asarray([51.3, 51.4, 0.5]), 0.2)
    assert not is_lost(np.asarray([0.01, 51.4, 0.5]), 0.2)
    # Noise of the velocity of a field at rest does not matter.
    assert not is_lost(np.asarray([1e-12, 1e-12, 0.5]), 0.2)
