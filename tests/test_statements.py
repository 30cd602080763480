"""Wrong statements get one sentence before anything is compiled."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import sobng as sn
from sobng.checks import check_corners, check_statement


SQUARE = sn.Box((0.0, 0.0), (1.0, 1.0))
KEY = jax.random.key(0)
FIELD = sn.MLP(2, width=4, key=KEY)


def laplace(u, x, args):
    return sn.laplacian(u)(x)


def pde(residual=laplace, **options):
    return sn.Condition(residual, SQUARE.interior, **({"name": "pde"} | options))


def wall(value=0.0, region=SQUARE.boundary, **options):
    return sn.Dirichlet(region, value, **({"name": "wall"} | options))


class Matrix(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return self.weight * jnp.outer(x, x)


PROBLEMS = {
    "no condition": (lambda: sn.Problem(), "at least one condition"),
    "not a condition": (lambda: sn.Problem(laplace), "takes conditions"),
    "same name": (lambda: sn.Problem(pde(), wall(name="pde")), "Two conditions"),
    "negative weight": (lambda: pde(weight=-1.0), "positive, finite weight"),
    "nan weight": (lambda: wall(weight=float("nan")), "positive, finite weight"),
    "domain for region": (lambda: sn.Dirichlet(SQUARE, 0.0), "needs a region"),
    "residual not callable": (lambda: sn.Condition(1.0, SQUARE.interior), "function"),
    "dimensions": (
        lambda: sn.Problem(
            pde(), sn.Dirichlet(sn.Interval(0.0, 1.0).boundary, 0.0, name="other")
        ),
        "share one dimension",
    ),
    "periodic on a disk": (
        lambda: sn.Periodic(sn.Disk((0.0, 0.0), 1.0), axis=0),
        "axis-aligned box",
    ),
    "case without problem": (lambda: sn.Case("c", None, None), "needs a `Problem`"),
    "case with a field": (
        lambda: sn.Case("c", sn.Problem(pde()), 3.0),
        "function from a key",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_wrong_statement_is_refused(name):
    make, words = PROBLEMS[name]
    with pytest.raises(ValueError, match=words):
        make()


def vector_residual(u, x, args):
    return jnp.outer(x, x)


def blind(u, x, args):
    return u(x)[0, 0]


def undefined(u, x, args):
    return sn.laplacian(u)(x) + jnp.log(-1.0 - x[0])


def wave(u, x, args):
    return sn.laplacian(u)(x) * jnp.exp(1j * x[0])


def stokes(u, x, args):
    viscous = sn.laplacian(lambda y: u(y)[:2])(x) - sn.gradient(lambda y: u(y)[2])(x)
    return jnp.append(viscous, sn.divergence(lambda y: u(y)[:2])(x))


SOLVES = {
    "matrix residual": (sn.Problem(pde(vector_residual), wall()), FIELD, "shape"),
    "residual indexes a scalar": (sn.Problem(pde(blind), wall()), FIELD, "pde"),
    "residual not finite": (sn.Problem(pde(undefined), wall()), FIELD, "not finite"),
    "nan data": (sn.Problem(pde(), wall(float("nan"))), FIELD, "not finite"),
    "nan data function": (
        sn.Problem(pde(), wall(lambda x: jnp.log(x[0] - 2.0))),
        FIELD,
        "not finite",
    ),
    "field of another dimension": (
        sn.Problem(pde(), wall()),
        sn.MLP(3, width=4, key=KEY),
        "dimension",
    ),
    "field returns a matrix": (
        sn.Problem(pde(), wall()),
        Matrix(jnp.ones(())),
        "scalar of shape",
    ),
    "field is a number": (sn.Problem(pde(), wall()), 3.0, "callable"),
    "data of the wrong shape": (
        sn.Problem(pde(), wall(lambda x: x, exact=False)),
        FIELD,
        "shape",
    ),
    "entry that is not there": (
        sn.Problem(pde(lambda u, x, args: u["a"](x)), wall(of="b", exact=False)),
        {"a": FIELD},
        "entry",
    ),
    "pure neumann": (
        sn.Problem(pde(), sn.Neumann(SQUARE.boundary, 0.0, name="flux")),
        FIELD,
        "up to a constant",
    ),
    "corner": (
        sn.Problem(
            pde(),
            wall(1.0, SQUARE.part("left")),
            wall(0.0, SQUARE.part("right", "bottom", "top"), name="cold"),
        ),
        FIELD,
        "disagree",
    ),
    "initial and boundary data": (
        (
            lambda cylinder: sn.Problem(
                sn.Condition(laplace, cylinder.interior, name="pde"),
                sn.Dirichlet(cylinder.lateral, 0.0, name="wall"),
                sn.Dirichlet(cylinder.initial, 1.0, name="start"),
            )
        )(sn.Interval(0.0, 1.0) * sn.Disk((0.0, 0.0), 1.0)),
        None,
        "disagree",
    ),
    "two values on one face": (
        sn.Problem(pde(), wall(), wall(1.0, SQUARE.part("top"), name="lid")),
        FIELD,
        "disagree",
    ),
    "exact on another domain": (
        sn.Problem(
            pde(), wall(1.0, sn.Box((0.2, 0.0), (0.8, 1.0)).part("bottom"), exact=True)
        ),
        FIELD,
        "another domain",
    ),
    "a component that is not there": (
        sn.Problem(pde(), wall(component=(0, 5))),
        sn.MLP(2, out=2, width=4, key=KEY),
        "component 5",
    ),
    "a slope of the wrong shape": (
        sn.Problem(pde(), sn.Neumann(SQUARE.boundary, jnp.ones(2), name="flux")),
        FIELD,
        "shape",
    ),
    "complex residual": (sn.Problem(pde(wave), wall()), FIELD, "complex"),
    "complex data": (
        sn.Problem(pde(), wall(lambda x: jnp.exp(1j * x[0]), exact=False)),
        FIELD,
        "complex",
    ),
    "a flow whose pressure has no level": (
        sn.Problem(
            pde(stokes),
            wall(jnp.zeros(2), component=(0, 1)),
        ),
        sn.MLP(2, out=3, width=4, key=KEY),
        "up to a constant in component 2",
    ),
    "a norm of two components": (
        sn.Energy(lambda u, x, args: jnp.sum(u(x) ** 2), SQUARE, normalise="l2"),
        sn.MLP(2, out=2, width=4, key=KEY),
        "one scalar field",
    ),
    "exact value that depends on args": (
        sn.Problem(pde(), wall(lambda x, args: args, exact=True)),
        FIELD,
        "cannot be exact",
    ),
}


@pytest.mark.parametrize("name", SOLVES)
def test_a_wrong_solve_is_refused(name):
    problem, field, words = SOLVES[name]
    with pytest.raises(ValueError, match=words) as caught:
        sn.solve(problem, field, key=KEY, args=1.0)
    assert "\n" not in str(caught.value)


def test_an_uncovered_boundary_part_is_a_warning():
    problem = sn.Problem(pde(), wall(0.0, SQUARE.part("left", "right", "top")))
    with pytest.warns(UserWarning, match="bottom"):
        check_statement(problem, FIELD, None)


def test_a_covered_boundary_is_none():
    problem = sn.Problem(pde(), wall())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_statement(problem, FIELD, None)


def test_a_level_that_only_a_power_fixes_is_seen():
    def balance(u, x, args):
        return u(x) ** 3 - 1 - sn.laplacian(u)(x)

    flux = sn.Neumann(SQUARE.boundary, 0.0, name="flux")
    zero = jax.tree.map(jnp.zeros_like, FIELD)
    check_statement(sn.Problem(pde(balance), flux), zero, None)


def test_components_are_compared_in_the_order_they_are_given():
    left = wall(jnp.array([2.0, 1.0]), SQUARE.part("left"), component=(1, 0))
    bottom = wall(jnp.array([1.0, 2.0]), SQUARE.part("bottom"), name="bottom")
    check_corners(sn.Problem(pde(), left, bottom), None)
