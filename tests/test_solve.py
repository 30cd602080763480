"""The first driver, as a user meets it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest

import sobng as sn
from sobng.collocation import PointPlan
from sobng.solvers.adaptor import bind, init_solver, run_steps
from sobng.stages.bandwidth import near_bandwidth
from sobng.stages.features import COUNT
from sobng.stages.stage import AbstractStage, Context


INTERVAL = sn.Interval(0.0, 1.0)


def killed_and_resumed(run, path, *, every, when):
    """A run with a checkpoint that is killed at a record, and started again."""

    def stop(record):
        if when(record):
            raise RuntimeError("killed")

    checkpoint = sn.Checkpoint(path / "run.checkpoint", every=every)
    with pytest.raises(RuntimeError, match="killed"):
        run(checkpoint=checkpoint, callbacks=(stop,))
    return run(checkpoint=checkpoint)


def exact(x):
    return jnp.sin(jnp.pi * x[0])


def poisson(u, x, args):
    return sn.laplacian(u)(x) + jnp.pi**2 * exact(x)


PROBLEM = sn.Problem(
    sn.Condition(poisson, INTERVAL.interior, name="poisson"),
    sn.Dirichlet(INTERVAL.boundary, 0.0, name="ends"),
)


def test_the_default_solves_poisson_to_rounding_and_knows_its_error():
    solution = sn.solve(PROBLEM, key=jax.random.key(0))
    error, _ = sn.relative_errors(solution, exact)
    assert error < 1e-12
    assert solution.error is not None
    assert solution.error < 1e-12
    assert solution(jnp.zeros((3, 2, 1))).shape == (3, 2)


@pytest.mark.slow
def test_the_natural_gradient_alone_passes_a_first_order_rival():
    def run(solver):
        field = sn.MLP(1, width=12, key=jax.random.key(0))
        solution = sn.solve(
            PROBLEM, field, solver, key=jax.random.key(1), max_steps=100
        )
        return sn.relative_errors(solution, exact)[0]

    # A hundred steps each: the claim is the gap, not the digits of so small a network.
    assert run(sn.GaussNewton()) < 1e-3 * run(optax.adam(1e-3))


def test_a_killed_run_ends_bit_for_bit_where_the_whole_one_ends(tmp_path):
    def run(**options):
        field = sn.MLP(1, width=6, key=jax.random.key(0))
        stages = sn.strategy("all-parameters")
        key = jax.random.key(1)
        return sn.solve(PROBLEM, field, stages=stages, key=key, max_steps=25, **options)

    whole = run()
    resumed = killed_and_resumed(run, tmp_path, every=5, when=lambda r: r.step == 17)
    ours, theirs = jax.tree.leaves(whole.field), jax.tree.leaves(resumed.field)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, jax.Array):
            assert np.array_equal(a, b)
    assert len(resumed.history["step"]) == len(whole.history["step"])


@pytest.mark.slow
def test_a_run_killed_in_a_correction_resumes(tmp_path):
    stages = (
        sn.LastLayer(max_steps=2),
        sn.Correction(above=1e-15, max_steps=4),
        sn.AllParameters(max_steps=2),
    )

    def run(**options):
        return sn.solve(
            PROBLEM, stages=stages, key=jax.random.key(3), tolerance=3e-15, **options
        )

    correcting = lambda r: r.stage == "correction" and r.step > 3
    whole = run()
    assert whole.stats["stages"][:2] == ("last-layer", "correction")
    resumed = killed_and_resumed(run, tmp_path, every=1, when=correcting)
    x = jnp.linspace(0.0, 1.0, 7)[:, None]
    assert np.array_equal(whole(x), resumed(x))
    assert whole.error == resumed.error


def advection(diffusion):
    """The problem and the solution of a flow against a wall, with a layer there."""

    def transport(u, x, args):
        return sn.partial(u, 0)(x) - diffusion * sn.partial(u, 0, 0)(x) - 1.0

    problem = sn.Problem(
        sn.Condition(transport, INTERVAL.interior, name="transport"),
        sn.Dirichlet(INTERVAL.boundary, 0.0, name="ends"),
    )
    return problem, lambda x: x[0] - jnp.exp((x[0] - 1.0) / diffusion)


def near_the_wall(function):
    points = 1.0 - jnp.logspace(-7, 0, 200)[:, None]
    return jax.vmap(function)(points)


@pytest.mark.slow
def test_a_boundary_layer_is_stretched_and_its_points_with_it():
    problem, layer = advection(1e-4)
    stages = (sn.LastLayer(max_steps=1), sn.Layers(max_steps=1))
    solution = sn.solve(problem, stages=stages, key=jax.random.key(0))
    error = near_the_wall(solution.field) - near_the_wall(layer)
    assert jnp.max(jnp.abs(error)) < 1e-8


@pytest.mark.slow
def test_a_run_killed_in_its_layers_resumes(tmp_path):
    problem, _ = advection(1e-3)
    stages = (
        sn.LastLayer(max_steps=1),
        sn.Layers(max_steps=4),
        sn.MoreFeatures(2, above=0.0),
    )

    def run(**options):
        return sn.solve(problem, stages=stages, key=jax.random.key(0), **options)

    whole = run()
    layers = lambda r: r.stage == "layers" and r.step > 2
    resumed = killed_and_resumed(run, tmp_path, every=1, when=layers)
    assert np.array_equal(near_the_wall(whole.field), near_the_wall(resumed.field))
    assert whole.error == resumed.error


@pytest.mark.slow
def test_features_that_follow_a_solution_roughly_are_doubled():
    problem, _ = advection(1e-3)
    stages = (sn.LastLayer(max_steps=1), sn.MoreFeatures(2, max_steps=1))
    solution = sn.solve(problem, stages=stages, key=jax.random.key(0))
    assert (solution.stats["params"], solution.stats["rows"]) == (513, 1542)
    first, second = solution.history["held_out"]
    assert second < 1e-3 * first


def test_a_bound_solver_works_inside_optimistix_under_jit():
    field = sn.impose(PROBLEM, sn.MLP(1, width=8, key=jax.random.key(0)))
    points = sn.discretise(PROBLEM, 40, key=jax.random.key(1))
    system = sn.System(PROBLEM, field, points)
    solver = sn.GaussNewton(metric=sn.SobolevMetric(order=1)).on(system)

    @jax.jit
    def run(params):
        fit = optx.least_squares(
            system.residual, solver, params, max_steps=20, throw=False
        )
        return fit.value

    before, after = system.loss(system.params), system.loss(run(system.params))
    assert after < 1e-3 * before


@pytest.mark.parametrize("search", [sn.GridSearch(), sn.ArmijoSearch()])
def test_other_searches_lower_the_loss(search):
    field = sn.MLP(1, width=8, key=jax.random.key(0))
    solver = sn.GaussNewton(search=search)
    solution = sn.solve(PROBLEM, field, solver, key=jax.random.key(1), max_steps=10)
    assert solution.stats["loss"] < 0.1 * solution.history["loss"][0] + 1e-9


WRONG = [
    ({"max_steps": 0}, "max_steps"),
    ({"time_limit": -1.0}, "time_limit"),
    ({"tolerance": 1e-30}, "cannot be reached"),
    ({"collocation": "many"}, "collocation"),
    ({"key": 0}, "key"),
    ({"field": sn.MLP(2, key=jax.random.key(0))}, "dimension"),
    ({"solver": "adam"}, "solver"),
]


@pytest.mark.parametrize(("options", "word"), WRONG, ids=[w for _, w in WRONG])
def test_bad_arguments_get_a_sentence(options, word):
    with pytest.raises(ValueError, match=word):
        sn.solve(PROBLEM, **({"key": jax.random.key(0)} | options))


def test_a_pure_neumann_problem_is_refused():
    problem = sn.Problem(
        sn.Condition(poisson, INTERVAL.interior, name="poisson"),
        sn.Neumann(INTERVAL.boundary, 0.0, name="flux"),
    )
    with pytest.raises(ValueError, match="up to a constant"):
        sn.solve(problem, key=jax.random.key(0))


def test_data_that_disagree_at_a_corner_are_refused():
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x), square.interior, name="pde"
        ),
        sn.Dirichlet(square.part("left"), 1.0, name="hot"),
        sn.Dirichlet(square.part("bottom"), 0.0, name="cold"),
        sn.Dirichlet(square.part("right", "top"), 0.0, exact=False, name="rest"),
    )
    with pytest.raises(ValueError, match="disagree"):
        sn.solve(problem, key=jax.random.key(0))


FRONT = sn.Problem(
    sn.Condition(
        lambda u, x, args: -1e-2 * sn.partial(u, 0, 0)(x) + sn.partial(u, 0)(x) - 1.0,
        sn.Interval(0.0, 1.0).interior,
        name="transport",
    ),
    sn.Dirichlet(sn.Interval(0.0, 1.0).boundary, 0.0, name="ends"),
)


@pytest.mark.slow
def test_features_that_fail_are_given_up_for_a_network_also_on_resuming(tmp_path):
    stages = (
        sn.LastLayer(bandwidth=False, max_steps=2),
        sn.AllParameters(max_steps=30),
    )

    def run(**options):
        return sn.solve(FRONT, stages=stages, key=jax.random.key(0), **options)

    # Without a choice of bandwidth these features miss the layer altogether.
    training = lambda r: r.stage == "all-parameters" and r.step > 20
    whole = run()
    assert whole.stats["params"] == 2 * 15 + 16 * 15 + 16
    resumed = killed_and_resumed(run, tmp_path, every=1, when=training)
    x = jnp.linspace(0.0, 1.0, 7)[:, None]
    assert np.array_equal(whole(x), resumed(x))


@pytest.mark.slow
def test_a_network_that_was_chosen_to_be_trained_is_never_given_up():
    def equations(u, x, args):
        return sn.partial(u, 0, 0)(x) + jnp.array([1.0, 2.0, 3.0], x.dtype)

    problem = sn.Problem(
        sn.Condition(equations, INTERVAL.interior, name="equations"),
        sn.Dirichlet(INTERVAL.boundary, 0.0),
        out=3,
    )
    stages = sn.strategy("all-parameters")
    solution = sn.solve(problem, stages=stages, key=jax.random.key(0), max_steps=2)
    assert solution.stats["params"] == 2 * 64 + 3 * 65


class Vandal(AbstractStage):
    """A stage that begins by spoiling the field."""

    name: str = "vandal"
    max_steps: int | None = 1
    patience: int = 1

    def wanted(self, context):
        return True

    def prepare(self, context):
        return context.unknown

    def begin(self, context):
        return jax.tree.map(
            lambda a: 3 * a if eqx.is_inexact_array(a) else a, context.unknown
        )

    def moves(self, context):
        return None

    def solver(self, context):
        return sn.GaussNewton()


def test_a_stage_that_makes_it_worse_is_undone():
    field = sn.MLP(1, width=8, key=jax.random.key(0))
    good = sn.AllParameters(max_steps=20)

    def run(*stages):
        return sn.solve(PROBLEM, field, stages=stages, key=jax.random.key(1))

    x = jnp.linspace(0.0, 1.0, 7)[:, None]
    spoilt = run(good, Vandal())
    alone = run(good)
    assert np.array_equal(alone(x), spoilt(x))
    assert spoilt.error == alone.error
    assert spoilt.stats["params"] == alone.stats["params"]
    assert spoilt.stats["stages"] == ("all-parameters", "vandal")


def test_a_run_that_over_fits_gets_more_points_and_goes_on():
    field = sn.MLP(1, width=24, key=jax.random.key(0))
    solution = sn.solve(
        PROBLEM,
        field,
        stages=sn.strategy("all-parameters"),
        collocation=6,
        key=jax.random.key(1),
        max_steps=60,
    )
    assert solution.stats["rows"] > 6
    assert solution.stats["num_steps"] == 60


@pytest.mark.parametrize("metric", [None, sn.SobolevMetric(order=1)])
@pytest.mark.parametrize(("width", "num"), [(100, 900), (300, 300)])
def test_a_step_needs_no_more_memory_than_four_jacobians_and_factors(
    metric, width, num
):
    field = sn.impose(PROBLEM, sn.MLP(1, width=width, key=jax.random.key(0)))
    points = sn.discretise(PROBLEM, num, key=jax.random.key(1))
    system = sn.System(PROBLEM, field, points)
    solver = bind(sn.GaussNewton(metric=metric), system)
    state = init_solver(solver, system, system.params, None)
    step = run_steps.lower(solver, system, system.params, state, None, 1).compile()
    used = step.compiled.memory_analysis().temp_size_in_bytes
    # A first-order metric holds the value and the derivative at every point.
    rows = system.rows(None) + (2 * num if metric else 0)
    assert used <= 4 * rows * system.num_params * 8


@pytest.mark.slow
def test_several_seeds_are_trained_at_once_by_vmap():
    points = sn.discretise(PROBLEM, 40, key=jax.random.key(1))

    def run(key):
        field = sn.impose(PROBLEM, sn.MLP(1, width=8, key=key))
        system = sn.System(PROBLEM, field, points)
        fit = optx.least_squares(
            system.residual,
            sn.GaussNewton().on(system),
            system.params,
            max_steps=3,
            throw=False,
        )
        return system.loss(fit.value)

    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(run))(keys)
    apart = jnp.stack([run(key) for key in keys])
    # Steps amplify the rounding, which differs in a batch; seeds differ by far more.
    assert jnp.allclose(together, apart, rtol=1e-4)


TESSERACT = sn.Box((0.0,) * 4, (1.0,) * 4)


def harmonic(x):
    return x[0] * x[1] + x[2] * x[3] + x[0] ** 2 - x[3] ** 2


@pytest.mark.slow
def test_four_dimensions_are_left_to_features_and_then_to_more(monkeypatch):
    # A tenth of the usual features, so that each stage has something to do.
    monkeypatch.setitem(COUNT, 4, 150)
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: (
                sn.laplacian(u)(x) - jnp.exp(jnp.sin(x[0] + x[1] + x[2]))
            ),
            TESSERACT.interior,
            name="poisson",
        ),
        sn.Dirichlet(TESSERACT.boundary, harmonic, name="wall"),
    )
    stages = (sn.LastLayer(), sn.Network(max_steps=3), sn.MoreFeatures(3))
    solution = sn.solve(problem, stages=stages, key=jax.random.key(0))
    history = solution.history
    held_out = dict(zip(history["stage"], history["held_out"], strict=True))
    assert solution.stats["stages"] == ("last-layer", "network", "more-features")
    assert held_out["more-features"] < 0.1 * held_out["last-layer"]
    # Three steps are not enough for the network, which is given up again.
    assert held_out["network"] > held_out["last-layer"]
    assert solution.stats["params"] == 451 and solution.stats["rows"] >= 3 * 451


@pytest.mark.parametrize("best", [0.4, 1.05, 1.6])
def test_the_bandwidth_near_another_is_found_by_a_parabola(monkeypatch, best):
    field = sn.sine_features(4, num=9, key=jax.random.key(0))
    width = lambda u: jnp.max(jnp.linalg.norm(u.weights[0], axis=1))

    def solved(context, unknown, steps):
        off = jnp.log(width(unknown) / width(field) / best)
        return unknown, float(jnp.exp(3 * off**2 - 9))

    context = object.__new__(Context)
    object.__setattr__(context, "out_of_time", lambda: False)
    monkeypatch.setattr("sobng.stages.bandwidth.solved", solved)
    found = near_bandwidth(context, field)
    # The farthest start is climbed from in four strides of a quarter of an octave.
    wanted = max(best, 0.5)
    assert jnp.allclose(width(found) / width(field), wanted, rtol=1e-6)


def test_points_may_be_any_times_as_many():
    plan = PointPlan(PROBLEM, 100, 10.0, jax.random.key(0))
    for level, num in ((0, 100), (1.0, 200), (1.5, 283)):
        points = plan.training(level).points["poisson"]
        assert abs(len(points) - num) < 20


@pytest.mark.slow
def test_a_harmonic_polynomial_is_found_by_waves_of_a_small_bandwidth(monkeypatch):
    monkeypatch.setitem(COUNT, 4, 300)
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x), TESSERACT.interior, name="laplace"
        ),
        sn.Dirichlet(TESSERACT.boundary, harmonic, name="wall"),
    )
    solution = sn.solve(problem, key=jax.random.key(0))
    assert solution.stats["stages"][0] == "last-layer"
    assert sn.relative_errors(solution, harmonic)[0] < 1e-8
