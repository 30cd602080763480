"""How far runs go in time, and what ends them before the end."""

import dataclasses
from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.clock import Clock
from sobng.evolve.attempt import Attempt
from sobng.evolve.horizon import Horizon, last_time
from sobng.evolve.integrate import Trip
from sobng.evolve.path import Leg, Path, Route


LENGTH = 22.0
RING = sn.Interval(0.0, LENGTH)


def kuramoto_sivashinsky(u, t, x, args):
    second, fourth = sn.partial(u, 0, 0)(x), sn.partial(u, 0, 0, 0, 0)(x)
    return -u(x) * sn.partial(u, 0)(x) - second - fourth


def start(x):
    wave = 2 * jnp.pi * x[0] / LENGTH
    return jnp.cos(wave) * (1 + jnp.sin(wave))


CHAOS = sn.Evolution(kuramoto_sivashinsky, start, RING, boundary=[sn.Periodic(RING, 0)])


def test_a_growing_error_passes_the_tolerance_where_its_logarithm_does():
    ts = np.asarray([0.0, 1.0, 2.0, 3.0])
    errors = np.asarray([1e-9, 1e-8, 1e-4, 1e-2])
    found = last_time(ts, errors, 1e-6)
    assert found is not None and np.isclose(found, 1.5)
    # An error that comes back below it has not passed it.
    assert last_time(ts, np.asarray([1e-9, 1.0, 1e-3, 1e-7]), 1e-6) is None
    # One that was never below has nothing to keep.
    assert last_time(ts, np.asarray([1e-3, 1e-3, 1e-3, 1e-3]), 1e-6) is None
    assert last_time(ts, np.asarray([1e-9, np.nan, np.nan, np.nan]), 1e-6) is None


class Still:
    """A motion whose field is its state."""

    def field(self, t, y, args):
        return y


class FakeClock(Clock):
    def __init__(self):
        self.now = 0.0

    @property
    def seconds(self) -> float:
        return self.now


def before() -> Attempt:
    """A run that came to 8, to be compared with."""
    path = Path(np.asarray([0.0, 8.0]), None, jnp.ones(3), Still)
    route = Route((Leg(Still(), path),))
    return Attempt(route, (), 0.0, 1e-4, 1.0, np.ones((0, 3)), np.ones(0))


def horizon(clock: Any = None, **options):
    keywords = {"tolerance": None, "limit": None} | options
    return Horizon(
        0.0,
        10.0,
        np.linspace(0.0, 10.0, 3),
        clock or FakeClock(),
        values=lambda field: field,
        args=None,
        **keywords,
    )


def test_a_run_that_loses_touch_with_the_one_before_has_gone_far_enough(monkeypatch):
    found = horizon(tolerance=1e-6)
    monkeypatch.setattr(Horizon, "_at", lambda self, before, time: jnp.ones(3))
    far = found.watch(before())
    assert far(Still(), 1.0, 1.01 * jnp.ones(3)) is None
    assert bool(far(Still(), 2.0, -jnp.ones(3)) == sn.RESULTS.drifted)
    assert far(Still(), 9.0, -jnp.ones(3)) is None  # the other did not come so far
    # Who asks for no tolerance gets all of it, with its error.
    assert horizon().watch(before())(Still(), 2.0, -jnp.ones(3)) is None


def test_a_limit_that_is_too_short_for_one_run_is_shared_by_two():
    clock = FakeClock()
    found = horizon(clock, limit=100.0)
    far = found.watch(None)
    clock.now = 40.0
    assert far(Still(), 5.0, jnp.ones(3)) is None  # it will come to the end
    clock.now = 45.0
    assert bool(far(Still(), 3.0, jnp.ones(3)) == sn.RESULTS.time_limit_reached)
    assert found.short and found.reach == 3.0
    # The next one goes as far.
    second = found.watch(before())
    assert second(Still(), 2.9, jnp.ones(3)) is None
    assert second(Still(), 3.1, jnp.ones(3)) is not None


@pytest.mark.slow
def test_chaos_is_followed_as_long_as_the_tolerance_allows():
    solution = sn.evolve(CHAOS, t1=600.0, key=jr.key(0), tolerance=1e-3)
    assert bool(solution.result == sn.RESULTS.drifted)
    assert 100 < solution.t1 < 300
    assert solution.ts[-1] == solution.t1
    assert solution.error == pytest.approx(1e-3)
    assert np.all(solution.errors <= 1e-3)
    assert len(solution.history["time"]) == len(solution.history["defect"])
    with pytest.raises(ValueError, match="known from t=0 to"):
        solution.at(600.0)
    # What it says is so, by a run that aims at less.
    closer = sn.evolve(CHAOS, t1=solution.t1, key=jr.key(1), tolerance=1e-6)
    x = jnp.linspace(0.0, LENGTH, 200)[:, None]
    for t, error in zip(solution.ts, solution.errors, strict=True):
        if t > closer.t1:
            break
        one, other = solution(t, x), closer(t, x)
        apart = np.linalg.norm(one - other) / np.linalg.norm(other)
        assert apart < 10 * error + 1e-6


def stop(record):
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", [0.7, 0.1], ids=["down", "up"])
def test_a_last_time_that_single_precision_rounds_is_reached(end):
    line, y = dfx.LocalLinearInterpolation, jnp.ones((1, 3), jnp.float32)
    ts = np.asarray([0.0, np.float32(end)], float)
    path = Path(ts, {"y0": y, "y1": 2 * y}, y[0], line)
    run = dataclasses.replace(before(), route=Route((Leg(Still(), path),)))
    found = run.at(np.asarray([0.0, end]), lambda field: field, None)
    assert np.array_equal(found.values, [[1, 1, 1], [2, 2, 2]])
    assert 1e-8 < run.route.slack(1e-12) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "end"),
    [
        ({"max_steps": 1}, sn.RESULTS.nonlinear_max_steps_reached),
        ({"callbacks": [stop]}, sn.RESULTS.interrupted),
        ({"time_limit": 1e-9}, sn.RESULTS.time_limit_reached),
    ],
    ids=["steps", "keys", "time"],
)
def test_a_limit_in_the_first_run_returns_what_is_there_and_no_network(limit, end):
    decay = sn.Evolution(lambda u, t, x, args: -(u(x) ** 3), start, RING)
    solution = sn.evolve(decay, t1=9.0, key=jr.key(0), tolerance=1e-2, **limit)
    assert bool(solution.result == end)
    assert solution.stats["motion"] == "frozen features"
    assert solution.t1 > 0 and solution.error is None


def test_a_field_that_starts_at_zero_has_not_grown_for_leaving_it():
    trip = Trip(before().route.legs[0].path, np.zeros((2, 3)), 1, 0, None)
    trip.looks[-1, 2] = 1.0
    assert not dataclasses.replace(before(), trips=(trip,)).grew
    trip.looks[:, 2] = [0.01, 1.0]
    assert dataclasses.replace(before(), trips=(trip,)).grew
