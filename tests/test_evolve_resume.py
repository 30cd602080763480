"""What a run in time keeps on disk, and what it makes of it."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import sobng as sn
from sobng.clock import Clock
from sobng.evolve.attempt import Attempt
from sobng.evolve.integrate import integrate, shapes
from sobng.evolve.journal import Journal, said
from sobng.evolve.path import Leg, Route


CIRCLE = sn.Interval(-1.0, 1.0)
STEP = 1 / 256


def shift(u, t, x, args):
    return -args * sn.partial(u, 0)(x)


def statement(rhs=shift, wall: Any = 0.0):
    """Zero at one end, to be held by rows."""
    return sn.Evolution(
        rhs,
        lambda x: jnp.sin(jnp.pi * x[0]),
        CIRCLE,
        boundary=[sn.Dirichlet(CIRCLE.part("left"), wall, exact=False, name="wall")],
    )


class Spin(eqx.Module):
    """A rotation about a centre that follows the state, as points of a motion do."""

    centre: Any

    def velocity(self, t, y, args):
        return args * jnp.stack([y[1], -y[0]]) + self.centre

    def defect(self, t, y, args):
        return jnp.stack([1e-9 * jnp.sum(y**2), jnp.sum(y**2), jnp.sum(y**2)])

    def renewed(self, t, y, args):
        return Spin(1e-3 * y)


MOTION = Spin(jnp.zeros(2))
Y0 = jnp.asarray([1.0, 0.3])


def trip(journal, look=lambda **_: None, max_steps=10_000, motion=MOTION):
    """Three segments of eighty steps in all."""
    solver, steps = dfx.Heun(), dfx.ConstantStepSize()

    def make(**keywords):
        end, limit = 80 * STEP, max_steps
        return integrate(
            motion,
            solver,
            steps,
            0.0,
            end,
            Y0,
            1.0,
            dt0=STEP,
            look=look,
            max_steps=limit,
            **keywords,
        )

    kinds = lambda: shapes(motion, solver, steps, Y0, 1.0, None)
    journal.part()
    return journal.trip(motion, Y0, kinds, make)


def journal(path, *identity):
    return Journal(sn.Checkpoint(path / "run", every=1), Clock(), *identity)


def killer(num):
    looks = []

    def look(**seen):
        looks.append(seen)
        if len(looks) == num:
            raise RuntimeError("killed")

    return look


def test_steps_go_on_where_they_were_killed_to_the_last_bit(tmp_path):
    whole = trip(Journal(None, Clock()))
    assert whole.steps == 80
    for num in (2, 2):  # the second one in what the first one left
        with pytest.raises(RuntimeError, match="killed"):
            trip(journal(tmp_path), killer(num))
    again = trip(journal(tmp_path))
    assert np.array_equal(again.path.ts, whole.path.ts)
    assert np.array_equal(again.path.end, whole.path.end)
    assert np.array_equal(again.looks, whole.looks)
    # Once it has come to its end no step is taken again.
    trip(journal(tmp_path), killer(1))


def test_a_limit_keeps_what_is_whole_and_more_may_be_asked_for(tmp_path):
    short = trip(journal(tmp_path), max_steps=50)
    assert short.steps == 50
    assert bool(short.result == sn.RESULTS.nonlinear_max_steps_reached)
    assert len(short.path.ts) == len(short.looks) == 51
    whole = trip(journal(tmp_path))
    assert bool(whole.result == sn.RESULTS.successful)
    assert np.array_equal(whole.path.ts[:51], short.path.ts)


def test_a_trip_that_a_limit_ended_at_once_begins_anew(tmp_path):
    def look(**_):
        raise KeyboardInterrupt

    first = journal(tmp_path)
    assert bool(trip(first, look).result == sn.RESULTS.interrupted)
    trip(first)  # writes both
    again = trip(journal(tmp_path))
    assert bool(again.result == sn.RESULTS.successful) and again.steps == 80


def test_what_is_left_of_a_run_keeps_the_limit_that_ended_it(tmp_path):
    first = journal(tmp_path)
    short = trip(first, max_steps=50)
    route = Route((Leg(MOTION, short.path),))
    values, times = np.ones((1, 2)), np.ones(1)
    first.parts[-1].strip(Attempt(route, (short,), 0.0, 1e-4, 1.0, values, times))
    trip(first)  # writes both
    found = journal(tmp_path).part().attempt
    assert found is not None and found.steps == 50
    assert bool(found.result == sn.RESULTS.nonlinear_max_steps_reached)


def test_ctrl_c_returns_the_steps_so_far():
    def look(time, **_):
        if time > 40 * STEP:
            raise KeyboardInterrupt

    found = trip(Journal(None, Clock()), look)
    assert bool(found.result == sn.RESULTS.interrupted)
    assert found.steps == len(found.path.ts) - 1 == 64


def test_steps_of_another_motion_are_not_gone_on_from(tmp_path):
    trip(journal(tmp_path))
    with pytest.raises(ValueError, match="cannot be repeated here bit for bit"):
        trip(journal(tmp_path), motion=Spin(jnp.ones(2)))


@pytest.mark.parametrize(
    "change",
    [
        {"t1": 2.0},
        {"args": 2.0},
        {"statement": statement(lambda u, t, x, args: 2 * shift(u, t, x, args))},
        {"statement": statement(wall=lambda t, x: t)},
    ],
    ids=["time", "args", "equation", "boundary"],
)
def test_a_checkpoint_of_another_run_is_refused(change, tmp_path):
    def identity(statement=statement(), t1=1.0, args=1.0):  # noqa: B008
        return (*said(statement, 0.0, t1, args), args)

    first = journal(tmp_path, identity())
    first.part()
    assert jnp.array_equal(first.numbers(lambda: jnp.ones(2)), jnp.ones(2))
    again = journal(tmp_path, identity())
    again.part()
    assert jnp.array_equal(again.numbers(lambda: jnp.zeros(2)), jnp.ones(2))
    with pytest.raises(ValueError, match="foreign checkpoint: it holds another"):
        journal(tmp_path, identity(**change))
