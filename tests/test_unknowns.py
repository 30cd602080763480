"""Unknowns of every kind: a user's module, systems, coefficients, energies, devices."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn


INTERVAL = sn.Interval(0.0, 1.0)


class Bumps(eqx.Module):
    """A module that sobng has never heard of."""

    centres: jax.Array
    heights: jax.Array

    def __call__(self, x):
        return jnp.sum(self.heights * jnp.exp(-8.0 * (x[0] - self.centres) ** 2))


def test_any_module_works_unchanged_and_keeps_its_shape():
    def equation(u, x, args):
        return sn.laplacian(u)(x) + jnp.sin(jnp.pi * x[0])

    problem = sn.Problem(
        sn.Condition(equation, INTERVAL.interior, name="poisson"),
        sn.Dirichlet(INTERVAL.boundary, 0.0),
    )
    field = Bumps(jnp.linspace(0.0, 1.0, 8), jnp.zeros(8))
    solution = sn.solve(problem, field, key=jr.key(0), max_steps=120)
    exact = lambda x: jnp.sin(jnp.pi * x[0]) / jnp.pi**2
    assert sn.relative_errors(solution, exact)[0] < 1e-6
    assert solution.stats["params"] == 16


def test_a_coefficient_in_the_unknown_is_an_inverse_problem():
    # -k u'' = 1 with u observed: k = 2 is found along with u.
    points = jnp.linspace(0.1, 0.9, 9)[:, None]
    exact = lambda x: x[0] * (1 - x[0]) / 4

    def equation(u, x, args):
        return u["k"] * sn.laplacian(u["u"])(x) + 1.0

    def data(u, x, args):
        return u["u"](x) - exact(x)

    problem = sn.Problem(
        sn.Condition(equation, INTERVAL.interior, name="poisson"),
        sn.Condition(data, INTERVAL.interior, name="data", weight=10.0),
        sn.Dirichlet(INTERVAL.boundary, 0.0, of="u"),
    )
    unknown = {"u": sn.MLP(1, width=10, key=jr.key(0)), "k": jnp.array(1.0)}
    rule = sn.discretise(problem, 40, key=jr.key(1))
    collocation = sn.Collocation(
        rule.points | {"data": points}, rule.weights | {"data": jnp.full(9, 1 / 9)}
    )
    solution = sn.solve(
        problem,
        unknown,
        key=jr.key(2),
        collocation=collocation,
        max_steps=150,
        observe="u",
    )
    assert abs(float(solution.field["k"]) - 2.0) < 1e-5


def test_two_fields_in_a_dict_solve_a_system():
    # u' = v, v' = -u with u(0) = 0, v(0) = 1: sine and cosine.
    def system(u, x, args):
        du, dv = sn.partial(u["u"], 0)(x), sn.partial(u["v"], 0)(x)
        return jnp.stack([du - u["v"](x), dv + u["u"](x)])

    left = INTERVAL.part("left")
    problem = sn.Problem(
        sn.Condition(system, INTERVAL.interior, name="oscillator"),
        sn.Dirichlet(left, 0.0, of="u", name="u0"),
        sn.Dirichlet(left, 1.0, of="v", name="v0"),
    )
    keys = jr.split(jr.key(0))
    unknown = {n: sn.MLP(1, width=8, key=k) for n, k in zip("uv", keys, strict=True)}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the right end is free
        solution = sn.solve(problem, unknown, key=jr.key(1), max_steps=80, observe="u")
    values = solution(jnp.array([[0.7]]))
    assert np.allclose(values["u"], np.sin(0.7), atol=1e-7)
    assert np.allclose(values["v"], np.cos(0.7), atol=1e-7)
    assert solution.error is not None


def test_an_energy_is_minimised_by_natural_gradients():
    def density(u, x, args):
        slope = sn.gradient(u)(x)[0]
        return 0.5 * slope**2 - jnp.pi**2 * jnp.sin(jnp.pi * x[0]) * u(x)

    energy = sn.Energy(
        density, INTERVAL, conditions=[sn.Dirichlet(INTERVAL.boundary, 0.0)]
    )
    field = sn.MLP(1, width=10, key=jr.key(0))
    solution = sn.solve(energy, field, key=jr.key(1), max_steps=100)
    exact = lambda x: jnp.sin(jnp.pi * x[0])
    assert sn.relative_errors(solution, exact)[1] < 1e-5
    assert solution.error is None
    assert solution.error_reason


def test_an_interrupted_run_returns_the_best_field():
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x) + 1.0, INTERVAL.interior, name="pde"
        ),
        sn.Dirichlet(INTERVAL.boundary, 0.0),
    )

    def stop(record):
        if record.step == 5:
            raise KeyboardInterrupt

    field = sn.MLP(1, width=6, key=jr.key(0))
    solution = sn.solve(problem, field, key=jr.key(1), callbacks=(stop,))
    assert "interrupted" in solution.message
    assert solution.stats["loss"] < solution.history["loss"][0]
    # No estimate was made of this field, and one of another would mislead.
    assert solution.error is None
    assert "interrupted" in solution.error_reason


SHARDED = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import sobng as sn

square = sn.Box((0.0, 0.0), (1.0, 1.0))
problem = sn.Problem(
    sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, square.interior, name="pde"),
    sn.Dirichlet(square.boundary, 0.0, exact=False, name="wall"),
)
field = sn.MLP(2, width=6, key=jax.random.key(0), domain=square)
points = sn.discretise(problem, 101, key=jax.random.key(1))
mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
losses = []
for collocation in (points, points.shard(mesh)):
    solution = sn.solve(
        problem, field, key=jax.random.key(2), collocation=collocation, max_steps=8
    )
    losses.append(solution.stats["loss"])
assert len(jax.devices()) == 4
assert np.isclose(*losses, rtol=1e-6), losses
"""


@pytest.mark.slow
def test_rows_on_four_devices_give_the_result_of_one(monkeypatch):
    flags = "--xla_force_host_platform_device_count=4"
    monkeypatch.setenv("XLA_FLAGS", flags)
    command = [sys.executable, "-c", SHARDED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
