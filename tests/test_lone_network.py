"""An ordinary network alone: what sobng chooses of it, and what it leaves to the user."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobng as sn
from sobng.stages.choice import choose_field
from sobng.stages.wider import doubled


INTERVAL = sn.Interval(0.0, 1.0)


def oscillating(waves):
    """Poisson's equation with so many half waves, and its solution."""
    number = waves * jnp.pi

    def poisson(u, x, args):
        return sn.laplacian(u)(x) + number**2 * jnp.sin(number * x[0])

    problem = sn.Problem(
        sn.Condition(poisson, INTERVAL.interior, name="poisson"),
        sn.Dirichlet(INTERVAL.boundary, 0.0, name="ends"),
    )
    return problem, lambda x: jnp.sin(number * x[0])


@pytest.mark.parametrize("size", [1.0, 1e3, 1e5])
def test_the_sine_and_its_derivatives_are_those_of_numpy(size):
    x = size * jax.random.normal(jax.random.key(0), (4000,))
    fn, known = sn.sine, [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]
    for value in known:
        assert np.max(np.abs(jax.vmap(fn)(x) - value(np.asarray(x)))) < 3e-16
        fn = jax.grad(fn)


def test_the_sine_keeps_the_precision_that_it_is_given():
    x = jnp.linspace(-9, 9, 50, dtype=jnp.float32)
    assert sn.sine(x).dtype == jnp.float32
    np.testing.assert_allclose(sn.sine(x), jnp.sin(x), atol=1e-6)


def test_a_network_of_sines_is_saved_and_loaded(tmp_path):
    field = sn.MLP(1, width=3, activation=sn.sine, key=jax.random.key(0))
    problem, _ = oscillating(1)
    solution = sn.solve(problem, field, key=jax.random.key(1), max_steps=2)
    solution.save(tmp_path / "sines.sobng")
    x = jnp.linspace(0.0, 1.0, 5)[:, None]
    loaded = sn.load(tmp_path / "sines.sobng")
    assert np.array_equal(loaded(x), solution(x))


@pytest.mark.parametrize("out", [None, 2])
def test_a_wider_network_is_the_same_function(out):
    field = sn.MLP(2, out=out, width=5, key=jax.random.key(0))
    wide = doubled(field, jax.random.key(1))
    assert len(wide.biases[0]) == 10
    points = jax.random.uniform(jax.random.key(2), (20, 2))
    np.testing.assert_allclose(
        jax.vmap(wide)(points), jax.vmap(field)(points), rtol=0, atol=1e-14
    )


def test_waves_are_as_short_as_the_problem_asks_for():
    problem, exact = oscillating(24)
    stages = (sn.Attempt(max_steps=3), sn.Waves(width=64, max_steps=60))
    solution = sn.solve(problem, stages=stages, key=jax.random.key(0))
    assert sn.relative_errors(solution, exact)[0] < 1e-4
    assert solution.stats["params"] == 3 * 64 + 1


def test_a_run_killed_in_a_wider_network_resumes(tmp_path):
    problem, _ = oscillating(6)
    stages = (
        sn.Attempt(max_steps=2),
        sn.Waves(width=8, max_steps=3),
        sn.Wider(max_steps=4),
    )

    def run(**options):
        return sn.solve(problem, stages=stages, key=jax.random.key(0), **options)

    def stop(record):
        if record.stage == "wider" and record.step == 7:
            raise RuntimeError("killed")

    whole = run()
    checkpoint = sn.Checkpoint(tmp_path / "run.checkpoint", every=1)
    with pytest.raises(RuntimeError, match="killed"):
        run(checkpoint=checkpoint, callbacks=(stop,))
    resumed = run(checkpoint=checkpoint)
    x = jnp.linspace(0.0, 1.0, 7)[:, None]
    assert np.array_equal(whole(x), resumed(x))


def test_a_network_of_the_user_is_neither_replaced_nor_widened():
    problem, _ = oscillating(24)
    field = sn.MLP(1, width=6, key=jax.random.key(0))
    stages = sn.strategy("all-parameters")
    solution = sn.solve(
        problem, field, stages=stages, key=jax.random.key(1), max_steps=300
    )
    assert solution.stats["stages"] == ("all-parameters",)
    assert solution.stats["params"] == 3 * 6 + 1


@pytest.mark.parametrize("dim", [4, 16])
def test_sines_of_many_coordinates_have_arguments_of_size_one(dim):
    cube = sn.Box((-1.0,) * dim, (1.0,) * dim)
    laplace = sn.Condition(lambda u, x, args: sn.laplacian(u)(x), cube.interior)
    problem = sn.Problem(laplace, sn.Dirichlet(cube.boundary, 1.0, name="walls"))
    stages = sn.strategy("all-parameters")
    field = choose_field(problem, stages, jax.random.key(0))
    points = jax.random.uniform(jax.random.key(1), (500, dim), minval=-1, maxval=1)
    arguments = points @ field.weights[0].T
    assert 0.4 < jnp.std(arguments) < 0.8
    assert field.activation is sn.sine
