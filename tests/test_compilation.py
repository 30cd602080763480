"""Programs that are compiled: few, and none twice."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import sobng as sn
from sobng.checks import check_statement
from sobng.clock import Clock
from sobng.fields.partition import linear_leaves
from sobng.once import lean, once, QUICK
from sobng.solvers.adaptor import loss_of
from sobng.system import System


INTERVAL = sn.Interval(0.0, 1.0)


def poisson(u, x, args):
    return sn.laplacian(u)(x) + jnp.sin(jnp.pi * x[0])


PROBLEM = sn.Problem(
    sn.Condition(poisson, INTERVAL.interior, name="poisson"),
    sn.Dirichlet(INTERVAL.boundary, 0.0, name="ends"),
)


def compilations(function):
    clock = Clock().start()
    try:
        function()
    finally:
        clock.stop()
    return clock.compilations


def test_the_same_problem_again_compiles_nothing():
    sn.solve(PROBLEM, key=jax.random.key(0))
    again = sn.solve(PROBLEM, key=jax.random.key(1))
    assert again.stats["compilations"] == 0


def test_a_statement_is_checked_by_few_programs():
    equation = sn.Condition(lambda u, x, args: sn.laplacian(u)(x), INTERVAL.interior)
    problem = sn.Problem(equation, sn.Dirichlet(INTERVAL.boundary, 0.0, exact=False))
    field = sn.MLP(1, width=11, key=jax.random.key(0))
    # Values, whether they see a constant, and points brought to the device; it was 40.
    assert compilations(lambda: check_statement(problem, field, None)) <= 4


@pytest.mark.parametrize("compiled", [lean, once])
def test_what_compiles_sooner_may_stand_inside_of_other_transformations(compiled):
    square = compiled(lambda x: x**2)
    ones = jnp.ones(3)
    assert square(3.0) == 9.0
    # JAX refuses such options there, also where the inner arguments are constants.
    assert jax.jit(lambda: square(ones))().shape == (3,)
    assert jnp.all(jax.vmap(jax.grad(square))(ones) == 2.0)
    assert eqx.filter_eval_shape(square, ones).shape == (3,)


def test_the_residual_of_a_field_is_traced_once_for_all_that_is_made_of_it():
    seen = []

    def residual(u, x, args):
        seen.append(x)
        return sn.laplacian(u)(x) + 1.0

    interval = sn.Interval(0.0, 1.0)
    problem = sn.Problem(sn.Condition(residual, interval.interior))
    field = sn.MLP(1, width=4, key=jax.random.key(0))
    system = System(problem, field, sn.discretise(problem, 8, key=jax.random.key(1)))
    for made in (system.residual, system.jacobian, system.loss):
        eqx.filter_jit(made)(system.params)
    assert len(seen) == 1


def test_a_loss_compiles_once_whichever_parameters_move():
    field = sn.MLP(1, width=11, key=jax.random.key(0))
    points = sn.discretise(PROBLEM, 10, key=jax.random.key(1))
    every = System(PROBLEM, field, points)
    last = System(PROBLEM, field, points, moves=linear_leaves(field))
    assert compilations(lambda: loss_of(every, every.params, None)) >= 1
    assert compilations(lambda: loss_of(last, last.params, None)) == 0


def test_features_of_other_sizes_are_drawn_by_the_same_program():
    def draw(num):
        return lambda: sn.sine_features(2, num=num, key=jax.random.key(0))

    draw(91)()
    # Two cuts to size, and zero coefficients.
    assert compilations(draw(93)) <= 4


def test_options_of_a_compiler_that_jax_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setitem(QUICK, "xla_no_such_option", True)
    assert once(lambda x: x + 1)(jnp.array(1.0)) == 2
