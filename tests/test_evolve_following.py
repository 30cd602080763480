"""Points that follow a field, and what is seen of a front on them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.following import densities, scattered, stretched
from sobng.evolve.integrate import integrate
from sobng.evolve.moving import moving
from sobng.evolve.steps import Steps


SQUARE = sn.Box([-1.0, 0.0], [1.0, 2.0])
KIND = jnp.float64


def front(x):
    """Steep across the first axis, a wave along the second."""
    return jnp.tanh(30 * (x[0] - 0.2)) + 0.1 * jnp.sin(jnp.pi * x[1])


def rule(field, each, periodic=(1,)):
    found = densities(SQUARE, periodic, each, field, KIND)
    return found, *stretched(found, periodic, each)


def test_a_rule_that_follows_a_front_still_integrates():
    _, points, weights = rule(front, 64)
    assert points.shape == (64**2, 2)
    assert abs(jnp.sum(weights) - 4.0) < 1e-3
    values = jnp.exp(points[:, 0]) * (1 + jnp.cos(jnp.pi * points[:, 1]))
    exact = 2 * (np.exp(1.0) - np.exp(-1.0))
    assert abs(weights @ values - exact) < 1e-3 * exact
    # What even points of the same number do not see at all.
    square = jax.vmap(lambda x: 1 / jnp.cosh(30 * (x[0] - 0.2)) ** 2)
    assert abs(weights @ square(points) - 4 / 30) < 1e-4


def test_points_gather_across_a_front_and_not_along_it():
    _, points, _ = rule(front, 64)
    across = np.mean(np.abs(points[:, 0] - 0.2) < 0.1)
    assert across > 0.3  # a tenth of the axis
    along = np.unique(np.asarray(points[:, 1]).round(9))
    steps = np.diff(along)
    assert steps.max() < 3 * steps.min()


def test_a_front_at_a_wall_or_across_a_period_is_followed_too():
    layer = lambda x: jnp.exp(-40 * (x[0] + 1))
    _, points, _ = rule(layer, 48)
    assert np.mean(points[:, 0] < -0.9) > 0.3
    # A step where one period ends and the next begins.
    seam = lambda x: jnp.tanh(30 * jnp.sin(jnp.pi * x[0]))
    _, points, _ = rule(seam, 48, periodic=(0, 1))
    ends, middle = np.abs(points[:, 0]) > 0.9, np.abs(points[:, 0]) < 0.1
    assert np.isclose(np.mean(ends), np.mean(middle), atol=0.03)
    assert np.mean(ends) > 0.2


def test_held_out_points_follow_with_weights_of_a_mean(getkey):
    found, _, _ = rule(front, 64)
    points, weights = scattered(found, jr.uniform(getkey(), (4096, 2)))
    assert jnp.isclose(jnp.mean(weights), 1.0)
    mean = jnp.mean(weights * points[:, 0] ** 2)
    assert abs(mean - 1 / 3) < 0.02
    assert np.mean(np.abs(points[:, 0] - 0.2) < 0.1) > 0.3


def test_a_constant_field_leaves_points_where_they_are():
    _, points, weights = rule(lambda x: 1.0 + 0 * x[0], 12, periodic=(0, 1))
    assert np.allclose(weights, 4 / 144)
    assert np.allclose(np.diff(np.unique(np.asarray(points[:, 0]).round(9))), 1 / 6)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_moving_field_is_projected_on_points_that_follow_it(dim, getkey):
    box = sn.Interval(-1.0, 1.0) if dim == 1 else sn.Box([-1.0] * dim, [1.0] * dim)
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x), lambda x: x[0], box
    )
    field = sn.MLP(dim, width=4, depth=1, key=getkey(), bandwidth=8.0)
    motion = moving(evolution, field, 0.0, 1.0, None, getkey(), num=64)
    y, _ = motion.start(0.0, None)
    other = motion.renewed(0.0, 2 * y, None)
    assert not np.allclose(other.points, motion.points)
    for found in (motion, other):
        assert abs(jnp.sum(found.weights) - 2.0**dim) < 0.05 * 2.0**dim
        assert jnp.isclose(jnp.mean(found.seen), 1.0)


def test_slowing_what_hardly_matters_saves_half_of_the_steps():
    circle = sn.Interval(-1.0, 1.0)
    heat = sn.Evolution(
        lambda u, t, x, args: 0.1 * sn.laplacian(u)(x),
        lambda x: 0.0 * x[0],
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )
    inner = sn.MLP(2, width=12, depth=2, key=jr.key(0))
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    x = jnp.linspace(-1.0, 1.0, 41)[:, None]

    def run(**damping):
        motion = moving(heat, field, 0.0, 1.0, None, jr.key(1), **damping)
        y, _ = motion.start(0.0, None)
        chosen = Steps().of(motion, y, 1e-8, float(jnp.linalg.norm(y)))
        trip = integrate(motion, *chosen, 0.0, 0.3, y, None)
        end = motion.field(0.3, jnp.asarray(trip.path(0.3)), None)
        return trip.steps, jax.vmap(end)(x)

    (num, values), (many, wanted) = run(), run(damping=1e-9)
    assert 2 * num < many
    # A tenth of the damping; errors were a hundredth of it elsewhere.
    assert jnp.linalg.norm(values - wanted) < 1e-7 * jnp.linalg.norm(wanted)
