"""The error estimate against true errors, and when there is none."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import sobng as sn


SQUARE = sn.Box((0.0, 0.0), (1.0, 1.0))


def exact(x):
    return jnp.sin(jnp.pi * x[0]) * jnp.sin(2 * jnp.pi * x[1])


def poisson(u, x, args):
    return sn.laplacian(u)(x) + 5 * jnp.pi**2 * exact(x)


def make_problem(exactly):
    return sn.Problem(
        sn.Condition(poisson, SQUARE.interior, name="poisson"),
        sn.Dirichlet(SQUARE.boundary, 0.0, exact=exactly, name="wall"),
    )


@pytest.mark.parametrize("exactly", [True, False])
@pytest.mark.parametrize("steps", [6, 60])
def test_the_estimate_is_the_error_along_a_run(exactly, steps):
    problem = make_problem(exactly)
    field = sn.MLP(2, width=16, key=jr.key(0))
    solution = sn.solve(problem, field, key=jr.key(1), max_steps=steps)
    error, _ = sn.relative_errors(solution, exact)
    # Resolved by the features: the estimate is the error itself, not a bound of it.
    assert solution.error == pytest.approx(error, rel=0.2)


@pytest.mark.slow
def test_an_estimate_at_rounding_includes_the_rounding():
    solution = sn.solve(make_problem(True), key=jr.key(0))
    error, _ = sn.relative_errors(solution, exact)
    assert error < 1e-13
    assert error / 3 < solution.error < 3 * error


def test_the_estimate_speaks_of_what_is_observed():
    # Two components, the second of which is wrong by one per cent.
    wrong = lambda x: jnp.stack([exact(x), 1.01 * exact(x)])

    class Pair(sn.AbstractField):
        weight: jax.Array
        dim: int = 2
        out: int | None = 2

        def __call__(self, x):
            return self.weight * wrong(x)

        def linear_leaves(self):
            return Pair(True, self.dim, self.out)

    def both(u, x, args):
        return jnp.stack([poisson(lambda y, i=i: u(y)[i], x, args) for i in (0, 1)])

    problem = sn.Problem(
        sn.Condition(both, SQUARE.interior, name="poisson"),
        sn.Dirichlet(SQUARE.boundary, 0.0, exact=False, name="wall"),
    )
    field = Pair(jnp.ones(()))
    first, second = (
        sn.estimate_error(problem, field, None, key=jr.key(0), observe=i)
        for i in (0, 1)
    )
    assert first.error < 1e-6
    assert second.error == pytest.approx(0.01 / 1.0, rel=0.05)


def test_a_front_that_no_features_follow_gets_no_number():
    interval = sn.Interval(0.0, 1.0)

    def layer(u, x, args):
        return -1e-5 * sn.laplacian(u)(x) + sn.partial(u, 0)(x) - 1.0

    problem = sn.Problem(
        sn.Condition(layer, interval.interior, name="layer"),
        sn.Dirichlet(interval.boundary, 0.0, name="ends"),
    )
    field = sn.impose(problem, sn.MLP(1, width=8, key=jr.key(0)))
    estimate = sn.estimate_error(problem, field, None, key=jr.key(1))
    assert estimate.error is None or estimate.error > 0.1
