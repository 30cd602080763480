"""Derivatives of a solution in `args`, against finite differences and exact ones."""

import jax
import jax.numpy as jnp
import optimistix as optx
import pytest

import sobng as sn


INTERVAL = sn.Interval(0.0, 1.0)


def reaction(u, x, args):
    load, rate = args
    return sn.laplacian(u)(x) - rate * u(x) ** 3 + load


PROBLEM = sn.Problem(
    sn.Condition(reaction, INTERVAL.interior, name="reaction"),
    sn.Dirichlet(INTERVAL.boundary, 0.0, name="ends"),
)
MIDDLE = jnp.array([0.4])
ARGS = (jnp.array(8.0), jnp.array(2.0))


def by_solve(args):
    return sn.solve(PROBLEM, args=args, key=jax.random.key(0)).field(MIDDLE)


def by_optimistix(args):
    field = sn.impose(PROBLEM, sn.MLP(1, width=10, key=jax.random.key(0)))
    points = sn.discretise(PROBLEM, 60, key=jax.random.key(1))
    system = sn.System(PROBLEM, field, points)
    fit = optx.least_squares(
        system.residual,
        sn.GaussNewton().on(system),
        system.params,
        args,
        max_steps=150,
        throw=False,
        adjoint=sn.MinimumNormAdjoint(),
    )
    return system.unknown(fit.value)(MIDDLE)


@pytest.mark.parametrize("value", [by_solve, by_optimistix])
@pytest.mark.slow
def test_the_implicit_derivative_agrees_with_finite_differences(value):
    found = jax.grad(value)(ARGS)
    step = 1e-4
    for i in range(2):
        ends = []
        for sign in (-1, 1):
            moved = [a + sign * step * (i == j) for j, a in enumerate(ARGS)]
            ends.append(by_solve(tuple(moved)))
        difference = (ends[1] - ends[0]) / (2 * step)
        # Central differences: h^2 = 1e-8, and the small network's own error.
        assert jnp.allclose(found[i], difference, rtol=1e-5)


def test_a_jitted_solve_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match="least_squares"):
        jax.jit(by_solve)(ARGS)
