"""What is observed of an unknown, and its errors against a reference."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sobng.calculus import gradient
from sobng.evaluation import observed, relative_errors, values_at
from sobng.fields.mlp import MLP
from sobng.geometry.ball import Disk
from sobng.geometry.box import Box, Interval


SQUARE = Box((0.0, 0.0), (1.0, 1.0))
POINT = jnp.array([2.0, 3.0])


def vector(x):
    return jnp.stack([x[0], x[1], x[0] * x[1]])


def scalar(x):
    return x[0] * x[1]


# What `observe` is, of which unknown, and its value at (2, 3).
OBSERVED = {
    "the value": (None, scalar, 6.0),
    "the only field of a dict": (None, {"u": scalar, "k": jnp.ones(2)}, 6.0),
    "a component": (2, vector, 6.0),
    "components": ((0, 2), vector, [2.0, 6.0]),
    "a list of components": ([1], vector, [3.0]),
    "a key": ("p", {"u": vector, "p": scalar}, 6.0),
    "an array": ("k", {"u": vector, "k": jnp.array([7.0])}, [7.0]),
    "a function of the value": (lambda v: v[:2], vector, [2.0, 3.0]),
    "a function of the unknown": (gradient, scalar, [3.0, 2.0]),
    "a function of unknown and point": (lambda u, x: u(x) + x[0], scalar, 8.0),
    "a function of a dict": (lambda u: u["p"], {"u": vector, "p": scalar}, 6.0),
    "a function to an array": (lambda u: u["k"], {"k": jnp.ones(2)}, [1.0, 1.0]),
}


@pytest.mark.parametrize("observe, u, value", OBSERVED.values(), ids=list(OBSERVED))
def test_every_way_to_observe_is_understood(observe, u, value):
    assert np.allclose(observed(observe)(u, POINT), value)


BAD = {
    "a number that is no component": (lambda: observed(0.5), "component"),
    "no components": (lambda: observed(()), "component"),
    "too few components": (lambda: observed(7)(scalar, POINT), "component"),
    "two fields": (lambda: observed()({"u": scalar, "v": scalar}, POINT), "`observe="),
    "no such key": (lambda: observed("w")({"u": scalar}, POINT), "'w'"),
    "a key of one field": (lambda: observed("w")(scalar, POINT), "a single field"),
    "other shapes": (lambda: relative_errors(vector, scalar, SQUARE), r"\(3,\)"),
    "no reference": (lambda: relative_errors(scalar, _zero, SQUARE), "vanishes"),
    "no domain": (lambda: relative_errors(scalar, scalar), "domain"),
}


def _zero(x):
    return 0.0 * x[0]


@pytest.mark.parametrize("call, words", BAD.values(), ids=list(BAD))
def test_what_cannot_be_observed_is_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_errors_are_those_of_the_integrals():
    # u = x^2 against x: the differences are x^2 - x and 2 x - 1 on (0, 1).
    l2, h1 = relative_errors(lambda x: x[0] ** 2, lambda x: x[0], Interval(0.0, 1.0))
    error, slope = 1 / 30, 1 / 3
    # Sobol points of a smooth function: far better than 1/num, but not exact.
    assert np.isclose(l2, np.sqrt(error * 3), rtol=1e-5)
    assert np.isclose(h1, np.sqrt((error + slope) / (1 / 3 + 1)), rtol=1e-5)


def test_a_relative_perturbation_is_the_error_to_rounding():
    disk = Disk((0.0, 0.0), 1.0)
    exact = lambda x: jnp.sin(x[0]) + x[1]
    errors = relative_errors(lambda x: exact(x) * (1 + 1e-9), exact, disk)
    # The values differ by 1e-9 of themselves, known to about 1e-16 of them.
    assert np.allclose(errors, 1e-9, rtol=1e-6)


def test_time_counts_as_a_coordinate():
    domain = Interval(0.0, 1.0) * Interval(0.0, 2.0)
    _, h1 = relative_errors(lambda x: x[1] + 0.1 * x[0], lambda x: x[1], domain)
    error, size = 0.01 * (2 / 3 + 2), 8 / 3 + 2
    assert np.isclose(h1, np.sqrt(error / size), rtol=1e-4)


def test_a_reference_on_the_host_has_no_derivative():
    table = lambda x: np.interp(np.asarray(x)[0], [0.0, 1.0], [0.0, 1.0])
    l2, h1 = relative_errors(lambda x: 1.5 * x[0], table, SQUARE, num=64)
    assert np.isclose(l2, 0.5) and h1 is None


def test_a_reference_with_an_undefined_derivative_has_no_h1_error():
    cusp = lambda x: jnp.sqrt(jnp.maximum(x[0] - 0.5, 0.0))
    l2, h1 = relative_errors(lambda x: 0.5 * cusp(x), cusp, SQUARE, num=64)
    assert np.isclose(l2, 0.5) and h1 is None


def test_a_field_in_single_precision_is_judged_in_it(getkey):
    field = MLP(2, key=getkey(), dtype=jnp.float32)
    l2, h1 = relative_errors(field, lambda x: 1.0 + x[0], SQUARE, num=64)
    assert np.isfinite(l2) and np.isfinite(h1)


def test_values_do_not_depend_on_the_number_of_points(getkey):
    points = jr.uniform(getkey(), (1500, 2))
    found = values_at(scalar, points)
    assert np.array_equal(found[:7], values_at(scalar, points[:7]))
