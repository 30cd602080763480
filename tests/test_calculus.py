"""Differential operators against closed forms and against one another."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sobng import calculus
from sobng.calculus._forward_laplacian import forward_laplacian
from sobng.calculus._second import _nested_laplacian


# Sums of a dozen terms of size one: rounding and room to spare.
TOLERANCE = dict(rtol=1e-12, atol=1e-12)


def wave(x):
    """exp(x_0) sin(2 x_1), continued by cos(x_i) of further coordinates."""
    return jnp.exp(x[0]) * jnp.sin(2 * x[1]) + jnp.sum(jnp.cos(x[2:]))


def swirl(x):
    return jnp.stack([x[1] * x[2], -x[0] * x[2] ** 2, x[0] * x[1]])


def network(key, dim, width=8):
    keys = jr.split(key, 3)
    first, second = jr.normal(keys[0], (width, dim)), jr.normal(keys[1], (width, width))
    last = jr.normal(keys[2], (width,))
    return lambda x: last @ jnp.tanh(second @ jnp.sin(first @ x) + 0.3)


def test_gradient_and_hessian_agree_with_closed_forms(getkey):
    x = jr.normal(getkey(), (2,))
    e, s, c = np.exp(x[0]), np.sin(2 * x[1]), np.cos(2 * x[1])
    assert np.allclose(calculus.gradient(wave)(x), [e * s, 2 * e * c], **TOLERANCE)
    expected = [[e * s, 2 * e * c], [2 * e * c, -4 * e * s]]
    assert np.allclose(calculus.hessian(wave)(x), expected, **TOLERANCE)


@pytest.mark.parametrize("dim", [2, 3, 5, 6, 12])
def test_laplacian_and_biharmonic_agree_with_closed_forms(dim, getkey):
    x = jr.normal(getkey(), (dim,))
    product = jnp.exp(x[0]) * jnp.sin(2 * x[1])
    rest = jnp.sum(jnp.cos(x[2:]))
    assert np.allclose(
        jax.jit(calculus.laplacian(wave))(x), -3 * product - rest, **TOLERANCE
    )
    assert np.allclose(
        jax.jit(calculus.biharmonic(wave))(x), 9 * product + rest, **TOLERANCE
    )


@pytest.mark.parametrize("axes", [(0,), (1, 1), (0, 1, 0), (1, 0, 1, 1), (0,) * 5])
def test_partial_is_exact_at_any_order(axes, getkey):
    x = jr.normal(getkey(), (2,))
    order = axes.count(1)
    # The k-th derivative of sin(2 y) is 2^k sin(2 y + k pi / 2).
    expected = jnp.exp(x[0]) * 2**order * jnp.sin(2 * x[1] + order * jnp.pi / 2)
    assert np.allclose(calculus.partial(wave, *axes)(x), expected, **TOLERANCE)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_directional_is_exact_at_any_order(order, getkey):
    x, direction, slope = (jr.normal(getkey(), (3,)) for _ in range(3))
    derivative = calculus.directional(lambda y: jnp.exp(slope @ y), direction, order)
    expected = (slope @ direction) ** order * jnp.exp(slope @ x)
    assert np.allclose(derivative(x), expected, **TOLERANCE)


def test_vector_operators_agree_with_closed_forms(getkey):
    x = jr.normal(getkey(), (3,))
    a, b, c = x
    jacobian = [[0, c, b], [-(c**2), 0, -2 * a * c], [b, a, 0]]
    assert np.allclose(calculus.jacobian(swirl)(x), jacobian, **TOLERANCE)
    curl = [a + 2 * a * c, b - b, -(c**2) - c]
    assert np.allclose(calculus.curl(swirl)(x), curl, **TOLERANCE)
    square = lambda x: x * x
    assert np.allclose(calculus.divergence(square)(x), 2 * jnp.sum(x), **TOLERANCE)
    assert np.allclose(calculus.laplacian(square)(x), [2.0, 2.0, 2.0], **TOLERANCE)
    assert calculus.hessian(square)(x).shape == (3, 3, 3)


def test_identities_of_vector_calculus_hold(getkey):
    u, x = network(getkey(), 3), jr.normal(getkey(), (3,))
    assert np.allclose(calculus.curl(calculus.gradient(u))(x), 0, atol=1e-11)
    assert np.allclose(calculus.divergence(calculus.curl(swirl))(x), 0, atol=1e-12)
    divergence = calculus.divergence(calculus.gradient(u))(x)
    assert np.allclose(divergence, calculus.laplacian(u)(x), **TOLERANCE)


def test_axes_pick_the_space_part_of_a_space_time_point(getkey):
    point = jr.normal(getkey(), (3,))
    u = lambda p: jnp.exp(-p[0]) * jnp.sin(p[1]) * jnp.cos(p[2])
    space = (1, 2)
    assert np.allclose(calculus.laplacian(u, space)(point), -2 * u(point), **TOLERANCE)
    full = calculus.gradient(u)(point)
    assert np.allclose(calculus.gradient(u, space)(point), full[1:], **TOLERANCE)
    flux = lambda p: calculus.gradient(u, space)(p)
    assert np.allclose(
        calculus.divergence(flux, space)(point), -2 * u(point), **TOLERANCE
    )
    assert np.allclose(calculus.curl(flux, space)(point), 0, atol=1e-12)
    assert calculus.hessian(u, space)(point).shape == (2, 2)


def test_normal_derivative_uses_the_normal_of_the_region():
    class Right:
        def normal(self, x):
            return jnp.stack([jnp.ones(()), jnp.zeros(())])

    flux = calculus.normal_derivative(lambda x: x[0] ** 2 * x[1], Right())
    assert np.allclose(flux(jnp.array([3.0, 2.0])), 12.0)


def _branches(x):
    scanned, _ = jax.lax.scan(lambda c, a: (c * jnp.cos(a) + a, None), x[0], x)
    chosen = jax.lax.cond(x[0] > -5, jnp.sin, jnp.cos, x[1])
    return scanned * chosen + jnp.where(x[2] > 0, x[2] ** 3, jnp.sin(x[2]))


def _products(x):
    y = x.reshape(2, -1)
    return jnp.sum((y.T @ y) / (1 + x @ x)) + jnp.prod(1 + x**2) ** 0.3


@pytest.mark.parametrize(
    "u",
    [
        _branches,
        _products,
        jax.jit(lambda x: jnp.linalg.norm(x) * jnp.max(x)),
        jax.checkpoint(lambda x: jnp.sum(jax.nn.softplus(x) * jax.nn.gelu(x))),
        lambda x: jax.nn.softmax(x)[jnp.array([0, 2])] ** x[:2] ** 2,
        lambda x: jnp.arctan2(x[0], x[1]) + jnp.cumsum(x)[2] ** 2,
        lambda x: jnp.concatenate([x, x.at[0].set(x[1] ** 3)])[::2] * x[0],
        lambda x: jnp.ones(()),
        lambda x: jax.nn.silu(x[::-1]) * jax.lax.stop_gradient(x),
    ],
)
def test_forward_laplacian_agrees_with_nested_derivatives(u, getkey):
    x = 0.5 + jr.uniform(getkey(), (6,))
    value, first, second = jax.jit(lambda x: forward_laplacian(u, x, jnp.eye(6)))(x)
    assert np.allclose(value, u(x), **TOLERANCE)
    assert np.allclose(
        first, jnp.moveaxis(jax.jit(jax.jacfwd(u))(x), -1, 0), **TOLERANCE
    )
    nested = jax.jit(lambda x: _nested_laplacian(u, x, tuple(range(6))))(x)
    assert np.allclose(second, nested, rtol=1e-11, atol=1e-11)


def test_forward_laplacian_differentiates_under_vmap_at_100_dimensions(getkey):
    weight, last = jr.normal(getkey(), (16, 100)) / 10, jr.normal(getkey(), (16,))
    points = jr.normal(getkey(), (7, 100))

    def total(weight, operator):
        u = lambda x: last @ jnp.tanh(weight @ x)
        return jnp.sum(jax.vmap(operator(u))(points) ** 2)

    nested = lambda u: lambda x: _nested_laplacian(u, x, tuple(range(100)))
    ours = jax.jit(jax.grad(lambda w: total(w, calculus.laplacian)))(weight)
    expected = jax.jit(jax.grad(lambda w: total(w, nested)))(weight)
    assert np.allclose(ours, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dim", [3, 8])
def test_operators_stay_in_float32(dim):
    x = jnp.linspace(0.1, 0.9, dim, dtype=jnp.float32)
    u = lambda x: jnp.sum(jnp.sin(x)) * x[0]
    operators = [calculus.gradient(u), calculus.laplacian(u), calculus.hessian(u)]
    operators += [calculus.partial(u, 0, 1), calculus.directional(u, [1.0] * dim)]
    for operator in operators:
        assert operator(x).dtype == jnp.float32


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (lambda: calculus.gradient(wave)(jnp.ones((4, 2))), "for many points"),
        (lambda: calculus.gradient(wave)(jnp.ones(2, int)), "floating-point"),
        (lambda: calculus.gradient(swirl)(jnp.ones(3)), "Use `jacobian`"),
        (lambda: calculus.laplacian(wave, (2,))(jnp.ones(2)), "from 0 to 1"),
        (lambda: calculus.laplacian(wave, ())(jnp.ones(2)), "from 0 to 1"),
        (lambda: calculus.divergence(swirl, (0, 1))(jnp.ones(3)), "`(2,)`"),
        (lambda: calculus.curl(swirl)(jnp.ones(4)), "two and three"),
        (lambda: calculus.curl(wave)(jnp.ones(2)), "vector field"),
        (lambda: calculus.partial(wave), "Got none"),
        (lambda: calculus.directional(wave, [1.0, 0.0], 0), "order of at least"),
        (lambda: calculus.directional(wave, [1.0])(jnp.ones(2)), "shape `(2,)`"),
    ],
)
def test_wrong_input_is_refused_with_advice(operator, message):
    with pytest.raises(ValueError) as error:
        operator()
    assert message.lower() in str(error.value).lower()


def test_the_laplacian_of_a_modulus_is_real_and_right():
    u = lambda x: jnp.abs(jax.lax.complex(x[0], x[1] ** 2)) ** 2
    found = calculus.laplacian(u)(jnp.array([0.3, 0.7]))
    assert jnp.isrealobj(found)
    assert jnp.isclose(found, 2 + 12 * 0.7**2)
