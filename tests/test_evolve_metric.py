"""Evolutions projected in the metric of a Sobolev space."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import sobng as sn
from sobng.evolve.checks import check_metric
from sobng.evolve.features import rule
from sobng.evolve.moving import moving
from sobng.evolve.projection import galerkin, setting
from sobng.metrics.sobolev import VALUES


CIRCLE = sn.Interval(-1.0, 1.0)
DENSITY = lambda x: 1.5 + jnp.cos(jnp.pi * x[0])


def burgers(u, t, x, args):
    return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


EVOLUTION = sn.Evolution(
    burgers,
    lambda x: -jnp.sin(jnp.pi * x[0]),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)
H1 = sn.SobolevMetric(1, weights=DENSITY, scale=0.3)


def network(features, key):
    """A periodic field, whose last layer is linear in as many parameters."""
    inner = sn.MLP(2, width=features, depth=1, key=key)
    return sn.PeriodicEmbedding(inner, {0: 2.0})


@eqx.filter_jit
def dense(motion_field, points, weights, y, wanted):
    """Jacobian and right-hand side in the weighted norm, by reverse mode."""

    def value_and_slope(function, x):
        return jnp.stack([function(x), 0.3 * jax.grad(function)(x)[0]])

    def rows(y):
        field = motion_field(y)
        return jax.vmap(lambda x: value_and_slope(field, x))(points)

    scale = jnp.sqrt(weights * jax.vmap(DENSITY)(points))[:, None]
    target = scale * jax.vmap(lambda x: value_and_slope(wanted, x))(points)
    matrix = scale[..., None] * jax.jacfwd(rows)(y)
    return matrix.reshape(-1, y.size), target.ravel()


def test_all_parameters_move_along_the_projection_in_h1(getkey):
    field = network(5, getkey())
    jet = check_metric(H1, 1)
    motion = moving(EVOLUTION, field, 0.0, 1.0, None, getkey(), num=60, jet=jet)
    y, _ = motion.start(jnp.asarray(0.0), None)
    now = lambda y: motion.field(0.0, y, None)
    wanted = lambda x: burgers(now(y), 0.0, x, None)
    matrix, target = dense(now, motion.points, motion.weights, y, wanted)
    damping = motion.damping * jnp.linalg.norm(matrix) / y.size**0.5
    velocity = eqx.filter_jit(motion.velocity)(0.0, y, None)
    normal = matrix.T @ (target - matrix @ velocity) - damping**2 * velocity
    assert jnp.linalg.norm(normal) < 1e-12 * jnp.linalg.norm(matrix.T @ target)


def frozen(jet, field, num=32):
    made = setting(EVOLUTION, field, 0.0, 1.0, None, jr.key(1), jet=jet)
    points, weights = rule(EVOLUTION, num)
    held_out, _ = CIRCLE.interior.sample(16, jr.key(3))
    return galerkin(made, field, points, weights, held_out, jr.key(4)), weights


@pytest.mark.slow
def test_frozen_features_move_along_the_projection_in_h1(getkey):
    motion, weights = frozen(check_metric(H1, 1), network(8, getkey()))
    points = motion.table.points
    y = jr.normal(getkey(), (motion.coefficients.shape[1],))
    now = lambda y: motion.field(0.0, y, None)
    wanted = lambda x: burgers(now(y), 0.0, x, None)
    matrix, target = dense(now, points, jnp.asarray(weights), y, wanted)
    left = target - matrix @ eqx.filter_jit(motion.velocity)(0.0, y, None)
    assert jnp.linalg.norm(left) > 1e-3 * jnp.linalg.norm(target)
    # The features are few, and nearly dependent ones cost digits.
    assert jnp.linalg.norm(matrix.T @ left) < 1e-9 * jnp.linalg.norm(matrix.T @ target)


def test_l2_is_the_default_to_the_bit():
    # Static parts alone: equal ones are one compiled function.
    assert check_metric(sn.SobolevMetric(0), 1) == check_metric(None, 1) == VALUES


@pytest.mark.slow
def test_burgers_in_h1_comes_to_the_solution_in_l2():
    options = {"t0": 0.0, "t1": 0.2, "key": jr.key(0), "tolerance": 1e-6}
    one = sn.evolve(EVOLUTION, **options)
    other = sn.evolve(EVOLUTION, metric=sn.SobolevMetric(1), **options)
    x = jnp.linspace(-1.0, 1.0, 33)[:, None]
    assert jnp.max(jnp.abs(one(0.2, x) - other(0.2, x))) < 1e-6
    assert other.error < 1e-6


@pytest.mark.parametrize(
    "metric",
    [
        sn.FisherRaoMetric(),
        sn.EuclideanMetric(),
        sn.SobolevMetric(-1),
        sn.SobolevMetric(1, boundary="periodic"),
        sn.SobolevMetric(1, homogeneous=True),
        "h1",
    ],
)
def test_a_metric_that_is_no_integral_of_derivatives_is_refused(metric):
    with pytest.raises(ValueError, match="SobolevMetric.order"):
        sn.evolve(EVOLUTION, t1=0.1, key=jr.key(0), metric=metric)
