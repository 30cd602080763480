"""The second driver, as a user meets it."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.saved import alike, saved, times_of
from sobng.problem.evolution import moves_in_time
from sobng.settings import Settings


ROD = sn.Interval(0.0, 1.0)
X = jnp.linspace(0.0, 1.0, 41)[:, None]


def heat(u, t, x, args):
    return sn.laplacian(u)(x) / 4


def exact(t, x):
    return jnp.exp(-(jnp.pi**2) * t / 4) * jnp.sin(jnp.pi * x[..., 0])


HEAT = sn.Evolution(
    heat,
    lambda x: jnp.sin(jnp.pi * x[0]),
    ROD,
    boundary=[sn.Dirichlet(ROD.boundary, 0.0, name="walls")],
)


@pytest.fixture(scope="module")
def solution():
    return sn.evolve(HEAT, t0=0.0, t1=1.0, key=jr.key(0))


def test_heat_is_solved_to_rounding_and_its_error_is_known(solution):
    for t in (0.3, 1.0):
        error = jnp.linalg.norm(solution(t, X) - exact(t, X)) / jnp.linalg.norm(
            exact(t, X)
        )
        assert error < 1e-11
    assert solution.error < 1e-11
    assert len(solution.ts) == len(solution.errors) == 17


def test_a_solution_is_a_function_of_time_and_space(solution):
    times = jnp.asarray([[0.0, 0.25], [0.5, 1.0]])
    assert solution(times, X[:5]).shape == (2, 2, 5)
    assert solution.at(0.5)(jnp.asarray([0.0])) == 0
    assert solution.snapshot(0.5)(X).shape == (41,)
    with pytest.raises(ValueError, match="known from t=0 to t=1. Got t=2"):
        solution.at(2.0)
    with pytest.raises(ValueError, match="Got shape"):
        solution(0.5, jnp.zeros((3, 2)))


def test_the_history_tells_of_every_step(solution):
    history = solution.history
    assert history["time"][0] == 0 and history["time"][-1] == 1
    assert len(history["defect"]) == solution.stats["num_steps"] + 1
    assert solution.stats["motion"] == "frozen features"
    assert "tolerance" in solution.message


def test_a_solution_holds_what_is_saved_of_its_fields(solution):
    middle = jnp.asarray([0.5])
    seen = dfx.SubSaveAt(t0=True, ts=[0.3], fn=lambda t, u, args: (t, u(middle)))
    steps, end = dfx.SubSaveAt(steps=True), dfx.SubSaveAt(t1=True)
    found = saved(solution, dfx.SaveAt(subs={"seen": seen, "steps": steps, "end": end}))
    assert np.allclose(found.ts["seen"], [0.0, 0.3]) and found.ts["end"] == [1.0]
    times, values = found.ys["seen"]
    assert jnp.allclose(values, exact(times, middle), rtol=1e-10)
    assert found.errors["seen"].shape == (2,) and found.snapshot(0.3).error < 1e-10
    fields = eqx.filter_vmap(lambda u: u(middle))(found.ys["steps"])
    assert len(fields) == solution.stats["num_steps"]
    assert jnp.allclose(
        fields, exact(jnp.asarray(found.ts["steps"]), middle), rtol=1e-10
    )


def test_what_asks_for_no_times_leaves_those_of_a_solution(solution):
    for saveat in (dfx.SaveAt(dense=True), dfx.SaveAt(solver_state=True)):
        found = saved(solution, saveat)
        assert found.ts is solution.ts and found.errors is solution.errors
        assert np.array_equal(times_of(saveat, 0.0, 1.0), solution.ts)


def test_an_error_is_known_at_more_times_than_are_named():
    even = np.linspace(0.0, 1.0, 17)
    assert np.array_equal(times_of(dfx.SaveAt(ts=[1.0]), 0.0, 1.0), even)
    found = times_of(dfx.SaveAt(ts=[0.3]), 0.0, 1.0)
    assert np.array_equal(found, np.sort([*even, 0.3]))


def test_a_killed_run_resumes_and_ends_bit_for_bit_where_it_would_have(
    solution, tmp_path
):
    looks = []

    def killer(record):
        looks.append(record)
        if len(looks) == 2:  # in the second run, to a closer aim
            raise RuntimeError("killed")

    checkpoint = sn.Checkpoint(tmp_path / "run.checkpoint", every=1)
    options = {"t0": 0.0, "t1": 1.0, "key": jr.key(0), "checkpoint": checkpoint}
    with pytest.raises(RuntimeError, match="killed"):
        sn.evolve(HEAT, callbacks=[killer], **options)
    again = []
    resumed = sn.evolve(HEAT, callbacks=[again.append], **options)
    assert 0 < len(again) < len(resumed.stats["attempts"])
    for t in (0.0, 0.3, 1.0):
        assert jnp.array_equal(resumed(t, X), solution(t, X))
    assert np.array_equal(resumed.errors, solution.errors)
    for name in ("time", "defect", "size"):
        assert np.array_equal(resumed.history[name], solution.history[name])


def test_fields_of_unlike_sizes_are_stacked_as_the_same_functions():
    def field(features, key):
        return sn.MLP(1, width=features, depth=1, activation=jnp.sin, key=key)

    fields = [field(n, jr.key(n)) for n in (3, 7, 5)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *alike(fields))
    for i, field in enumerate(fields):
        same = jax.tree.map(lambda a, i=i: a[i], stacked)
        assert jnp.allclose(jax.vmap(same)(X), jax.vmap(field)(X), atol=1e-15)


@pytest.mark.slow
def test_a_field_that_is_too_small_for_the_initial_values_says_what_would_do():
    waves = lambda x: jnp.sin(8 * jnp.pi * x[0])
    walls = [sn.Dirichlet(ROD.boundary, 0.0, name="walls")]
    evolution = sn.Evolution(heat, waves, ROD, boundary=walls)
    field = sn.MLP(1, width=3, depth=1, key=jr.key(3))
    found = sn.evolve(evolution, field, key=jr.key(0), tolerance=1e-6)
    assert bool(found.result == sn.RESULTS.unfitted)
    assert found.t1 == 0 and found.error is None
    assert "misses the initial values by" in found.error_reason
    assert "sine features miss them by" in found.error_reason


@pytest.mark.slow
def test_a_run_that_blows_up_ends_soon_and_keeps_its_times():
    circle = sn.Interval(-1.0, 1.0)
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) + u(x) ** 2,
        lambda x: 20 * (1 + jnp.cos(jnp.pi * x[0])),
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )
    ts = [0.01, 0.025, 0.5]
    found = sn.evolve(evolution, t1=1.0, key=jr.key(0), saveat=dfx.SaveAt(ts=ts))
    assert bool(found.result == sn.RESULTS.blew_up)
    assert np.array_equal(found.ts, ts[:2]) and np.max(found.errors) < 1e-6
    assert 0.025 < found.t1 < 0.03 and found.error is None
    assert found.stats["seconds"] < 20
    middle = eqx.filter_vmap(lambda u: u(jnp.zeros(1)))(found.ys)
    assert middle[1] > 3 * middle[0] > 3 * 40
    with pytest.raises(RuntimeError, match="blows up"):
        sn.evolve(evolution, t1=1.0, key=jr.key(0), throw=True)


def test_the_exact_solution_has_no_residual_in_space_time():
    problem = HEAT.space_time(0.0, 1.0)
    u = lambda p: exact(p[0], p[1:])
    for condition in problem.conditions:
        points, _ = condition.region.sample(16, jr.key(0))
        at = lambda p, c=condition: c.residual(u, p, None)
        assert jnp.max(jnp.abs(jax.vmap(at)(jnp.asarray(points)))) < 1e-12


def test_a_system_repeats_in_space_time_by_one_vector_of_jumps():
    periodic = sn.Periodic(sn.Box((0.0, -1.0), (1.0, 1.0)), 1)
    u = lambda p: jnp.stack([p[1], p[1] ** 2])
    found = periodic.residual(u, jnp.asarray([0.5, -1.0]), None)
    assert jnp.allclose(found, jnp.asarray([2.0, 0.0, 0.0, 4.0]))


def test_a_datum_of_any_arguments_moves_in_time():
    driven = lambda *told: told[0] * told[2]
    evolution = sn.Evolution(
        heat,
        lambda x: 0.0 * x[0],
        ROD,
        boundary=[sn.Dirichlet(ROD.part("left"), driven, name="driven")],
        args=3.0,
    )
    assert moves_in_time(driven)
    wall = evolution.space_time(0.0, 1.0).conditions[2]
    still = lambda point: 0.0 * point[0]
    found = wall.residual(still, jnp.asarray([2.0, 0.0]), jnp.asarray(3.0))
    assert jnp.allclose(found, -6.0)


def test_a_second_order_equation_becomes_a_system_with_its_walls():
    wave = sn.second_order(
        lambda u, t, x, args: 4 * sn.laplacian(u)(x),
        lambda x: jnp.sin(jnp.pi * x[0]),
        lambda x: 0.0 * x[0],
        ROD,
        boundary=[sn.Dirichlet(ROD.boundary, lambda t, x: t**2 + 0.0 * x[0])],
    )
    assert wave.out == 2
    (wall,) = wave.space_time(0.0, 1.0).conditions[2:]
    point = jnp.asarray([0.5, 1.0])
    u = lambda p: jnp.stack([p[0] ** 2, 2 * p[0]])
    assert jnp.allclose(wall.residual(u, point, None), 0.0)
    v = lambda x: jnp.stack([jnp.sin(x[0]), jnp.cos(x[0])])
    rate = wave.rhs(v, 0.0, jnp.asarray([0.3]), None)
    assert jnp.allclose(rate, jnp.asarray([jnp.cos(0.3), -4 * jnp.sin(0.3)]))


@pytest.mark.parametrize(
    "change, says",
    [
        ({"t1": 0.0}, "t0 to a later t1. Got t0=0.0, t1=0.0"),
        ({"key": 0}, "JAX random key"),
        ({"tolerance": 1e-20}, "cannot be reached"),
        ({"saveat": dfx.SaveAt(ts=[0.5, 2.0])}, "outside of the run"),
        ({"saveat": [0.5]}, "`saveat` is a `diffrax.SaveAt`"),
        ({"solver": "dopri8"}, "`solver` is a solver of Diffrax"),
        ({"dt0": -1.0}, "`dt0` is a positive number"),
        ({"stepsize_controller": dfx.PIDController(1e-20, 0.0)}, "for rtol=2e-15"),
        (
            {"stepsize_controller": dfx.StepTo(ts=jnp.asarray([0.0, 0.5]))},
            "increasing times from t0=0.0 to t1=1.0",
        ),
        (
            {"stepsize_controller": dfx.StepTo(ts=jnp.arange(2.0)), "dt0": 0.1},
            "`StepTo` says all steps",
        ),
        ({"corrections": -1}, "an integer from 0. Got -1"),
        ({"corrections": 2}, "functions of frozen features are linear"),
        (
            {
                "corrections": 1,
                "solver": dfx.Kvaerno3(),
                "field": sn.MLP(1, key=jr.key(0)),
            },
            "explicit Runge-Kutta method of Diffrax",
        ),
        ({"field": "mlp"}, "callable module of one point"),
        ({"field": sn.MLP(2, key=jr.key(0))}, "points of dimension 2"),
        ({"field": sn.MLP(1, out=2, key=jr.key(0))}, r"values of shape \(2,\)"),
    ],
)
def test_what_evolve_cannot_use_is_refused(change, says):
    options = {"t0": 0.0, "t1": 1.0, "key": jr.key(0)} | change
    with pytest.raises(ValueError, match=says):
        sn.evolve(HEAT, **options)


def test_a_tolerance_that_is_no_number_is_refused_in_a_sentence():
    names = ("callbacks", "progress", "checkpoint", "observe", "time_limit")
    options = dict.fromkeys(names) | {"callbacks": (), "max_steps": 1}
    with pytest.raises(ValueError, match="positive number. Got 'fine'"):
        Settings.checked(tolerance="fine", **options)


def test_statements_that_contradict_themselves_are_refused():
    def evolve(rhs=heat, initial=lambda x: x[0], boundary=()):
        evolution = sn.Evolution(rhs, initial, ROD, boundary=boundary)
        return sn.evolve(evolution, t0=0.0, t1=1.0, key=jr.key(0))

    with pytest.raises(ValueError, match="contradict condition 'walls'"):
        evolve(boundary=[sn.Dirichlet(ROD.boundary, 0.0, name="walls")])
    with pytest.raises(ValueError, match="do not repeat"):
        evolve(boundary=[sn.Periodic(ROD, 0)])
    with pytest.raises(ValueError, match=r"`rhs` returns shape \(1,\)"):
        evolve(rhs=lambda u, t, x, args: sn.gradient(u)(x))
    with pytest.raises(ValueError, match="`rhs` is complex. State real and"):
        evolve(rhs=lambda u, t, x, args: jax.lax.complex(u(x), u(x)))
    with pytest.raises(ValueError, match="The initial value is complex"):
        evolve(initial=lambda x: jax.lax.complex(x[0], x[0]))
    with pytest.raises(ValueError, match="A boundary value is complex"):
        evolve(boundary=[sn.Dirichlet(ROD.part("left"), 1j)])
    with pytest.raises(ValueError, match="not finite"):
        evolve(initial=lambda x: x[0] / 0.0)
    with pytest.raises(ValueError, match="`rhs` of the initial values is not finite"):
        evolve(rhs=lambda u, t, x, args: jnp.log(u(x) - 2))
    with pytest.raises(ValueError, match="boundary of its own domain"):
        evolve(boundary=[sn.Dirichlet(sn.Interval(0.0, 2.0).boundary, 0.0)])
    with pytest.raises(ValueError, match="initial values have shape"):
        evolve(initial=lambda x: jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="needs an `Evolution`"):
        sn.evolve(HEAT.space_time(0.0, 1.0), key=jr.key(0))


def test_a_stored_fourier_series_is_what_it_was_made_of():
    x = 2 * np.pi * np.arange(16) / 16 - 1.0
    spectrum = np.fft.fft(np.exp(np.sin(x + 1.0))) / 16
    series = sn.FourierSeries(spectrum[None], [2.0], (-1.0,), (2 * np.pi - 1.0,))
    point = jnp.asarray([0.3])
    # Sixteen waves of an entire function.
    assert abs(series(2.0, point) - jnp.exp(jnp.sin(1.3))) < 1e-6
    assert jnp.isnan(series(1.0, point))
    with pytest.raises(ValueError, match="needs coefficients"):
        sn.FourierSeries(spectrum, [2.0], (0.0,), (1.0,))
