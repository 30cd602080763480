"""Fronts in space and time: a deep network whose points follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_solve import killed_and_resumed

import sobng as sn
from sobng.collocation import PointPlan
from sobng.points import Points


CIRCLE = sn.Interval(-1.0, 1.0)


def burgers(u, t, x, args):
    return 0.05 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


def steepening(initial):
    """Burgers' equation on a circle."""
    boundary = [sn.Periodic(CIRCLE, 0)]
    return sn.Evolution(burgers, initial, CIRCLE, boundary=boundary).space_time(
        0.0, 1.0
    )


SMOOTH = steepening(lambda x: -jnp.sin(jnp.pi * x[0]))
KINKED = steepening(lambda x: x[0] ** 2)


def context_of(problem):
    points = sn.discretise(problem, 64, key=jax.random.key(0))
    return sn.Context(
        problem=problem,
        unknown=sn.MLP(2, key=jax.random.key(1)),
        args=None,
        training=points,
        held_out=points,
        key=jax.random.key(2),
        tolerance=1e-14,
        asked=False,
        error=None,
        residual=None,
        owned=True,
        done=("last-layer",),
        points=lambda grading: (points, points),
        out_of_time=lambda: False,
    )


def jump(field):
    ends = jnp.array([[0.5, -1.0], [0.5, 1.0]])
    left, right = jax.vmap(field)(ends)
    return abs(float(left - right))


def test_a_network_for_fronts_repeats_where_the_unknown_is_to():
    field = sn.Fronts().prepare(context_of(SMOOTH))
    assert jump(field) < 1e-14
    assert field(jnp.array([0.0, 0.5])) == -1


def test_data_whose_periodic_extension_has_a_kink_are_not_embedded():
    # An embedded network could never take the kink of its initial values away.
    assert jump(sn.Fronts().prepare(context_of(KINKED))) > 1e-3


def test_points_follow_a_steep_field_and_still_integrate():
    points = Points(PointPlan(SMOOTH, None, 1.0, jax.random.key(0)))
    front = lambda x: jnp.tanh(100 * x[1])
    points.follow_values(0, front, None)
    found = np.asarray(points.training.points["equation"])
    weights = np.asarray(points.training.weights["equation"])
    # A twentieth of the domain.
    assert np.mean(np.abs(found[:, 1]) < 0.05) > 0.2
    # Random points: of a spread of two hundredths.
    assert abs(np.sum(weights * found[:, 1] ** 2) - 2 / 3) < 0.1
    points.follow_values(1, front, None)
    assert not np.array_equal(points.training.points["equation"], found)
    assert points.training.points["equation"].shape == found.shape


def test_points_that_were_given_stay():
    given = sn.discretise(SMOOTH, 64, key=jax.random.key(0))
    points = Points(PointPlan(SMOOTH, given, 1.0, jax.random.key(0)))
    points.follow_values(3, lambda x: x[0], None)
    assert points.training is given


@pytest.mark.slow
def test_a_run_killed_in_its_front_resumes(tmp_path):
    # Features of one step without a choice of bandwidth fail.
    stages = (sn.LastLayer(bandwidth=False, max_steps=1), sn.Fronts(max_steps=8))

    def run(**options):
        return sn.solve(SMOOTH, stages=stages, key=jax.random.key(0), **options)

    whole = run()
    assert whole.stats["stages"] == ("last-layer", "fronts")
    moving = lambda r: r.stage == "fronts" and r.step == 6
    resumed = killed_and_resumed(run, tmp_path, every=1, when=moving)
    x = jnp.linspace(0.0, 1.0, 7)
    x = jnp.stack([x, -x], axis=1)
    assert np.array_equal(whole(x), resumed(x))
