"""Stages that are interrupted, draw points, ask for more of them, or have nothing to do."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.collocation import PointPlan
from sobng.points import Points
from sobng.stages.stage import AbstractStage


INTERVAL = sn.Interval(0.0, 1.0)
FIELD = sn.MLP(1, width=6, key=jr.key(0))


def poisson():
    def equation(u, x, args):
        return sn.laplacian(u)(x) + jnp.exp(4 * x[0])

    return sn.Problem(
        sn.Condition(equation, INTERVAL.interior, name="pde"),
        sn.Dirichlet(INTERVAL.boundary, 0.0),
    )


def flat(solution):
    return jax.flatten_util.ravel_pytree(solution.field)[0]


class Doubled(AbstractStage):
    """Prepares another field, and is interrupted before it has learnt anything."""

    name: str = "doubled"
    max_steps: int | None = None
    patience: int = 5

    def wanted(self, context):
        return True

    def prepare(self, context):
        return jax.tree.map(
            lambda a: 2 * a if isinstance(a, jax.Array) else a, context.unknown
        )

    def begin(self, context):
        raise KeyboardInterrupt

    def moves(self, context):
        return None

    def solver(self, context):
        return sn.GaussNewton()


def test_a_stage_that_is_interrupted_as_it_begins_leaves_the_field_before_it():
    first = sn.AllParameters(max_steps=4)
    alone = sn.solve(poisson(), FIELD, key=jr.key(1), stages=(first,))
    found = sn.solve(poisson(), FIELD, key=jr.key(1), stages=(first, Doubled()))
    assert "interrupted" in found.message
    assert jnp.array_equal(flat(found), flat(alone))
    assert found.error == alone.error


def test_a_strategy_that_moves_nothing_says_so():
    found = sn.solve(poisson(), FIELD, key=jr.key(1), stages=(sn.LastLayer(),))
    assert bool(found.result == sn.RESULTS.idle) and found.stats["num_steps"] == 0


def test_a_checkpoint_of_another_equation_or_activation_is_refused(tmp_path):
    def run(problem, field):
        checkpoint = sn.Checkpoint(tmp_path / "run.checkpoint", every=1)
        return sn.solve(
            problem,
            field,
            key=jr.key(1),
            max_steps=2,
            checkpoint=checkpoint,
            stages=(sn.AllParameters(),),
        )

    run(poisson(), FIELD)
    other = sn.MLP(1, width=6, activation=jnp.sin, key=jr.key(0))
    with pytest.raises(ValueError, match="another problem"):
        run(poisson(), other)
    reaction = sn.Problem(
        sn.Condition(lambda u, x, args: u(x) - 1.0, INTERVAL.interior, name="pde"),
        sn.Neumann(INTERVAL.boundary, 0.0),
    )
    with pytest.raises(ValueError, match="another problem"):
        run(reaction, FIELD)


def test_points_drawn_in_a_later_stage_are_drawn_again_on_resuming(tmp_path):
    def run(**keywords):
        return sn.solve(
            poisson(),
            FIELD,
            key=jr.key(1),
            stages=(sn.AllParameters(max_steps=3), sn.AllParameters(fresh=5)),
            collocation=sn.Uniform(40),
            max_steps=9,
            **keywords,
        )

    def stop(record):
        if record.step == 8:
            raise RuntimeError("killed")

    checkpoint = sn.Checkpoint(tmp_path / "run.checkpoint", every=1)
    with pytest.raises(RuntimeError, match="killed"):
        run(checkpoint=checkpoint, callbacks=(stop,))
    assert jnp.array_equal(flat(run(checkpoint=checkpoint)), flat(run()))


def test_a_stage_gets_the_rows_that_it_asks_for_and_no_more():
    rows = []
    for stages in (
        (sn.Waves(width=16, max_steps=1),),
        (sn.Attempt(max_steps=1), sn.Waves(width=16, max_steps=1)),
    ):
        found = sn.solve(poisson(), key=jr.key(1), stages=stages)
        rows.append(found.stats["rows"])
    assert rows[0] <= rows[1] < 1500


def test_points_follow_a_front_after_they_were_made_more():
    problem = poisson()
    points = Points(PointPlan(problem, None, 1.0, jr.key(0)))
    points.enlarge(1.0)
    points.follow_values(1, sn.impose(problem, FIELD), None)
    inside = points.training.points["pde"]
    assert len(inside) == 2 * points.plan.num and np.all(np.isfinite(inside))
