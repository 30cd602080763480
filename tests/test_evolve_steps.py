"""Steps that a user names, and what is said of their error."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import sobng as sn
from sobng.clock import Clock
from sobng.evolve.integrate import integrate, shapes
from sobng.evolve.journal import Journal
from sobng.evolve.resuming import resuming
from sobng.evolve.steps import finer, Steps


CIRCLE = sn.Interval(-1.0, 1.0)


class Growth(eqx.Module):
    """The motion y' = rate y^power, of one number."""

    power: int = 1

    def velocity(self, t, y, rate):
        return rate * y**self.power

    def defect(self, t, y, rate):
        size = jnp.sum(y**2)
        return jnp.stack([1e-18 * size, size, size])


WAVE = sn.Evolution(
    lambda u, t, x, args: -sn.partial(u, 0)(x),
    lambda x: jnp.exp(jnp.sin(jnp.pi * x[0])),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)


def test_steps_are_judged_by_finer_ones_of_their_kind():
    found = finer(dfx.PIDController(rtol=1e-6, atol=1e-8, pcoeff=0.3))
    assert np.allclose([found.rtol, found.atol, found.pcoeff], [1e-7, 1e-9, 0.3])
    clipped = dfx.ClipStepSizeController(
        dfx.PIDController(rtol=1e-6, atol=0.0), step_ts=jnp.asarray([0.5])
    )
    assert np.isclose(finer(clipped).controller.rtol, 1e-7)
    named = dfx.StepTo(ts=jnp.asarray([0.0, 0.5, 1.0]))
    assert np.allclose(finer(named).ts, [0.0, 0.25, 0.5, 0.75, 1.0])
    fixed = Steps(dfx.Heun(), dfx.ConstantStepSize(), 0.1)
    assert fixed.named and fixed.finer().dt0 == 0.05
    assert not Steps(dfx.Heun()).named


def test_what_diffrax_looks_for_in_a_controller_is_still_there_when_steps_go_on():
    pid, dt = dfx.PIDController(rtol=1e-3, atol=1e-3), jnp.asarray(0.1)
    steady = dfx.Event(dfx.steady_state_event())
    for controller, solver, event in (
        (pid, dfx.Kvaerno5(), None),  # takes its tolerances from there
        (pid, dfx.Tsit5(), steady),  # too
        (dfx.ConstantStepSize(), dfx.Tsit5(), None),
    ):
        assert resuming(controller, dt, solver, event) == (controller, dt)
    found, dt0 = resuming(pid, dt, dfx.Tsit5(), None)
    assert dt0 is None and found.init(None, 2.0, *[None] * 6)[0] == 2.0 + dt


def test_the_conditions_of_an_event_see_the_arguments_of_the_evolution():
    def passed(t, y, rate, *, terms, solver, **told):
        assert solver.func(terms, t, y, rate).shape == y.shape
        return y[0] - 4.0 * rate

    event = dfx.Event((passed, lambda t, y, args, **_: t > 2.0))
    start, steps = jnp.asarray([1.0]), dfx.PIDController(rtol=1e-6, atol=1e-6)
    found = integrate(Growth(), dfx.Tsit5(), steps, 0.0, 5.0, start, 2.0, event=event)
    assert bool(found.result == sn.RESULTS.event_occurred)
    assert [bool(leaf) for leaf in found.event_mask] == [True, False]
    assert jnp.exp(2 * found.reached) > 8.0


def test_a_path_is_that_of_its_steps_up_to_the_time_of_an_event(tmp_path):
    event = dfx.Event(
        lambda t, y, args, **_: y[0] - 1.5, optx.Newton(rtol=1e-10, atol=1e-10)
    )
    motion, solver, start = Growth(2), dfx.Tsit5(), jnp.asarray([1.0])
    steps = dfx.PIDController(rtol=1e-3, atol=1e-3)

    def found():
        """The second time from disk."""
        journal = Journal(sn.Checkpoint(tmp_path / "run", every=1), Clock())
        journal.part()
        kinds = lambda: shapes(motion, solver, steps, start, 1.0, event)

        def make(**told):
            return integrate(
                motion, solver, steps, 0.0, 0.9, start, 1.0, event=event, **told
            )

        return journal.trip(motion, start, kinds, make)

    for trip in (found(), found()):
        assert bool(trip.result == sn.RESULTS.event_occurred)
        assert trip.beyond is None
        path = trip.path
        assert np.allclose(path.end, 1.5, atol=1e-9)
        times = np.linspace(0.0, trip.reached, 7)
        assert np.allclose([path(t)[0] for t in times], 1 / (1 - times), atol=1e-3)


def test_steps_to_many_times_go_on_from_segment_to_segment():
    ts = jnp.asarray(np.linspace(0.0, 1.0, 71) ** 2)
    steps = Steps(dfx.Tsit5(), dfx.StepTo(ts=ts))
    start = jnp.asarray([1.0])
    solver, controller = steps.of(Growth(), start, 1e-8, 1.0)
    found = integrate(Growth(), solver, controller, 0.0, 1.0, start, 1.0)
    assert np.array_equal(found.path.ts, ts)
    assert np.allclose(found.path.end, np.e)
    # A run to an earlier time, as for the estimate of another that ended there.
    found = integrate(Growth(), solver, controller, 0.0, 0.5, start, 1.0)
    assert np.array_equal(found.path.ts, [*ts[ts < 0.5], 0.5])


@pytest.mark.parametrize("name", ["step_ts", "jump_ts"])
def test_no_step_goes_over_a_time_that_a_segment_begins_before(name):
    # Steps of one length, so that a segment ends at 3.2, and this one would end at 3.3.
    pid = dfx.PIDController(rtol=1.0, atol=1.0, dtmax=0.1)
    event = dfx.Event(lambda t, y, args, **_: t > 6.0)
    # An implicit solver and an event look for tolerances in it.
    for time, method in ((3.25, dfx.Tsit5()), (6.45, dfx.Kvaerno3())):
        at: Any = {name: jnp.asarray([time])}
        clipped = dfx.ClipStepSizeController(pid, **at)
        solver, steps = Steps(method, clipped).of(
            Growth(), jnp.asarray([1.0]), 1e-8, 1.0
        )
        start, told = jnp.asarray([1.0]), dict[str, Any](dt0=0.1)
        told |= {"event": event} if time < 4 else {}
        ts = integrate(Growth(), solver, steps, 0.0, 8.0, start, 0.1, **told).path.ts
        assert np.min(np.abs(ts - time)) < 1e-12 and np.all(np.diff(ts) >= 0)


@pytest.mark.slow
def test_a_run_ends_at_a_steady_state_by_an_implicit_solver():
    rod = sn.Interval(0.0, 1.0)
    evolution = sn.Evolution(
        lambda u, t, x, args: sn.laplacian(u)(x) + 1.0,
        lambda x: x[0] * (1 - x[0]),
        rod,
        boundary=[sn.Dirichlet(rod.boundary, 0.0)],
    )
    found = sn.evolve(
        evolution,
        t1=100.0,
        key=jr.key(0),
        solver=dfx.Kvaerno5(),
        stepsize_controller=dfx.PIDController(rtol=1e-6, atol=1e-6),
        event=dfx.Event(dfx.steady_state_event(rtol=1e-5, atol=1e-5)),
    )
    assert bool(found.result == sn.RESULTS.event_occurred) and found.t1 < 50
    x = jnp.linspace(0.0, 1.0, 41)[:, None]
    assert jnp.max(jnp.abs(found(found.t1, x) - x[:, 0] * (1 - x[:, 0]) / 2)) < 1e-4


@pytest.mark.slow
def test_half_a_fixed_step_divides_the_error_by_its_order_and_the_estimate_knows():
    x = jnp.linspace(-1.0, 1.0, 101)[:, None]
    exact = jnp.exp(jnp.sin(jnp.pi * (x[:, 0] - 0.5)))
    errors = []
    for step in (1 / 64, 1 / 128):
        found = sn.evolve(
            WAVE,
            t1=0.5,
            key=jr.key(0),
            tolerance=1e-3,
            solver=dfx.Bosh3(),
            stepsize_controller=dfx.ConstantStepSize(),
            dt0=step,
        )
        assert found.stats["num_steps"] == round(0.5 / step)
        miss = jnp.linalg.norm(found(0.5, x) - exact) / jnp.linalg.norm(exact)
        errors.append(float(miss))
        assert found.error is not None and 0.1 < found.error / errors[-1] < 10
    assert abs(np.log2(errors[0] / errors[1]) - 3) < 0.2


@pytest.mark.slow
def test_a_tolerance_of_steps_that_is_too_large_is_seen_in_the_estimate():
    found = sn.evolve(
        WAVE,
        t1=0.5,
        key=jr.key(0),
        solver=dfx.Tsit5(),
        stepsize_controller=dfx.PIDController(rtol=1e-5, atol=1e-6),
    )
    x = jnp.linspace(-1.0, 1.0, 101)[:, None]
    exact = jnp.exp(jnp.sin(jnp.pi * (x[:, 0] - 0.5)))
    error = jnp.linalg.norm(found(0.5, x) - exact) / jnp.linalg.norm(exact)
    assert error > 1e-9
    assert found.error is not None and 0.1 < found.error / error < 10
