"""Kernels against tables, scipy's Bessel functions, operator identities and inverses."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
import scipy.special

import sobng as sn
from sobng.kernels.bessel import bessel_potential


def along(kernel, dim, x=None):
    """The kernel as a function of its second point, at a distance from the first."""
    x = jnp.zeros(dim) if x is None else x
    return lambda y: kernel(x, y)


def at(r, dim):
    """A point at distance r from the origin that lies on no axis."""
    direction = jnp.arange(1.0, dim + 1)
    return r * direction / jnp.linalg.norm(direction)


def on_points(function, radii, dim):
    """The values of a function of one point at some distances from the origin."""
    return jax.jit(jax.vmap(function))(jnp.stack([at(r, dim) for r in radii]))


@pytest.mark.parametrize(
    ("dim", "order", "value"),
    [
        (1, 1, 0.0913417620),
        (1, 2, 0.1233113787),
        (2, 2, 0.0283229137),
        (3, 2, 0.0072687465),
        (3, 3, 0.0049064039),
    ],
)
def test_the_sobolev_kernel_has_the_tabulated_values(dim, order, value):
    kernel = sn.SobolevKernel(order, scale=1.0)
    assert abs(kernel(jnp.zeros(dim), at(1.7, dim)) - value) < 6e-11  # digits printed


def test_a_kernel_up_to_its_factor_stays_in_range_in_many_dimensions():
    kernel = sn.SobolevKernel(2.5, scale=0.7)
    x, y = jnp.array([0.1, 0.2]), jnp.array([0.9, -0.3])
    ratio = kernel(x, y) / kernel(x, x)
    assert jnp.allclose(kernel.unscaled(x, y), ratio, rtol=1e-14)
    # For n pixels and the order (n + 1) / 2 + 1 it is (1 + r) e^-r.
    image = jnp.full(784, 0.1)
    kernel = sn.SobolevKernel(393.5, scale=1.0)
    exact = (1 + 2.8) * math.exp(-2.8)
    assert jnp.allclose(kernel.unscaled(image, 0 * image), exact, rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_half_integer_orders_are_a_decaying_exponential_times_a_polynomial(dim):
    polynomials = [[1], [1, 1], [1, 1, 1 / 3], [1, 1, 2 / 5, 1 / 15]]
    r = jnp.array([0.0, 1e-8, 0.3, 1.7, 40.0])
    for m, p in enumerate(polynomials):
        s = (dim + 1) / 2 + m
        peak = math.gamma(m + 0.5) / math.gamma(s) / (4 * math.pi) ** (dim / 2)
        exact = peak * jnp.exp(-r) * jnp.polyval(jnp.array(p[::-1], float), r)
        found = on_points(along(sn.SobolevKernel(s, scale=1.0), dim), r, dim)
        np.testing.assert_allclose(found, exact, rtol=1e-14)


ORDERS = [1e-6, 0.3, 0.4999999, 0.5, 1, 1.5, 2.7, 12.25, 30]


@pytest.mark.parametrize("order", ORDERS)
def test_every_real_order_agrees_with_the_bessel_functions_of_scipy(order):
    value = lambda t: bessel_potential(order, t)
    slope = jax.grad(value)
    jet = jax.jit(jax.vmap(lambda t: (value(t), slope(t), jax.grad(slope)(t))))
    r = np.concatenate([np.geomspace(1e-8, 600, 150), [2 - 1e-9, 2, 2 + 1e-9]])
    # Of the argument's own rounding, which 600 magnifies to 1e-13, both see the same.
    t = r**2
    r = np.sqrt(t)
    at_zero = 2.0 ** (order - 1) * math.gamma(order)
    for k, found in enumerate(jet(t)):
        with np.errstate(over="ignore"):
            bessel = scipy.special.kve(order - k, r) * np.exp(-r)
            exact = (-0.5) ** k / at_zero * r ** (order - k) * bessel
        known = np.isfinite(exact) & (np.abs(exact) > 1e-280)
        assert np.sum(known) > 140
        np.testing.assert_allclose(found[known], exact[known], rtol=1e-12)


def test_the_height_and_the_scale_are_those_of_the_fourier_symbol():
    order, scale, r = 1.7, 0.6, 0.8

    def symbol(xi):
        return (1 + (scale * xi) ** 2) ** -order / math.pi

    exact, _ = scipy.integrate.quad(symbol, 0, math.inf, weight="cos", wvar=r)
    kernel = sn.SobolevKernel(order, scale)
    assert abs(kernel(jnp.zeros(1), jnp.array([r])) - exact) < 1e-8  # quadrature


@pytest.mark.parametrize(("dim", "order"), [(1, 3.5), (2, 4.2), (3, 5.0)])
def test_one_minus_laplace_lowers_the_order_by_one(dim, order):
    kernel = along(sn.SobolevKernel(order, scale=1.0), dim)
    lower = along(sn.SobolevKernel(order - 1, scale=1.0), dim)
    radii = [0.0, 1e-6, 0.4, 2.5]
    difference = on_points(lambda y: kernel(y) - sn.laplacian(kernel)(y), radii, dim)
    np.testing.assert_allclose(difference, on_points(lower, radii, dim), rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 3])
def test_derivatives_of_matern_five_halves_are_the_closed_forms(dim):
    scale = 0.7
    kernel = sn.SobolevKernel((dim + 5) / 2, scale)
    peak = kernel(jnp.zeros(dim), jnp.zeros(dim))
    radii = np.array([0.0, 0.2, 1.9])
    n, rho = dim, radii / scale
    laplacian = -np.exp(-rho) * (n * (1 + rho) - rho**2) / (3 * scale**2)
    square = n * (n + 2) - (2 * n + 3) * rho + rho**2
    square = np.exp(-rho) * square / (3 * scale**4)

    def both(y):  # one Laplacian in each point: what a residual functional asks for
        return sn.laplacian(lambda x: sn.laplacian(along(kernel, dim, x))(y))(y * 0)

    found = on_points(sn.laplacian(along(kernel, dim)), radii, dim)
    np.testing.assert_allclose(found, peak * laplacian, rtol=1e-12)
    found = on_points(both, radii, dim)
    np.testing.assert_allclose(found, peak * square, rtol=1e-12)


def test_forward_and_reverse_derivatives_agree_at_coincident_points():
    x = jnp.array([0.3, -0.1])
    kernel = sn.SobolevKernel(3.7, 0.5)
    assert kernel.smoothness(2) >= 4
    tensors = []
    for modes in [(jax.jacfwd, jax.jacrev), (jax.jacrev, jax.jacfwd)]:
        function = kernel
        for argnum, mode in zip([0, 1, 0, 1], modes * 2, strict=True):
            function = mode(function, argnum)
        function = jax.jit(function)
        tensors.append(function(x, x))
        # The limit from points nearby: the fourth derivative is continuous there.
        tensor, nearby = tensors[-1], function(x, x + 1e-7)
        assert jnp.allclose(nearby, tensor, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(*tensors, rtol=1e-11, atol=1e-11)


def test_smoothness_counts_the_derivatives_at_coincident_points():
    smoothness = lambda order, dim: sn.SobolevKernel(order).smoothness(dim)
    assert smoothness(1, 1) == 0  # e^-r has a kink
    assert smoothness(2, 1) == 2
    assert smoothness(3, 2) == 3  # r^4 log r has three
    assert smoothness(3.01, 2) == 4  # a Laplacian has point values above 1 + 2
    assert smoothness(5, 4) == 5
    assert sn.GaussianKernel().smoothness(7) == math.inf


def test_the_inverse_of_the_exponential_kernel_is_tridiagonal():
    h, num = 0.1, 12
    points = h * jnp.arange(1.0 * num)[:, None]
    matrix = sn.SobolevKernel(1, scale=1.0).matrix(points)
    exact = 2 * math.cosh(h) * jnp.eye(num) - jnp.eye(num, k=1) - jnp.eye(num, k=-1)
    exact = exact.at[jnp.array([0, -1]), jnp.array([0, -1])].set(math.exp(h))
    exact = exact / math.sinh(h)
    np.testing.assert_allclose(jnp.linalg.inv(matrix), exact, rtol=1e-10, atol=1e-9)


def test_the_norm_of_an_interpolant_is_the_norm_of_the_least_extension():
    points = jnp.linspace(-5.0, 5.0, 41)[:, None]
    values = jnp.exp(-(points[:, 0] ** 2))
    matrix = sn.SobolevKernel(2, scale=1.0).matrix(points)
    norm = values @ jnp.linalg.solve(matrix, values)
    # Of 7.519885, the square of the norm of e^(-x^2) in H^2(R), interpolated from below.
    assert abs(norm - 7.518455) < 1e-6


def test_kernel_matrices_are_symmetric_and_positive_definite(getkey):
    points = jr.uniform(getkey(), (40, 2))
    kernel = sn.SobolevKernel(2.3).fitted(points)
    matrix = kernel.matrix(points)
    assert jnp.array_equal(matrix, matrix.T)
    assert jnp.min(jnp.linalg.eigvalsh(matrix)) > 0
    others = jr.uniform(getkey(), (3, 2))
    assert jnp.allclose(
        kernel.matrix(points, others)[7, 2], kernel(points[7], others[2])
    )


def test_a_large_matrix_is_computed_some_rows_at_a_time(getkey, monkeypatch):
    import sobng.kernels.kernel as module

    points = jr.uniform(getkey(), (50, 2))
    kernel = sn.SobolevKernel(2.5, 0.4)
    whole = kernel.matrix(points)
    monkeypatch.setattr(module, "ENTRIES", 350)
    jax.clear_caches()
    np.testing.assert_allclose(kernel.matrix(points), whole, rtol=1e-14)


def test_the_scale_is_the_median_distance_of_the_points():
    points = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    exact = sorted([5.0, 1.0, math.hypot(3, 3)])[1]
    for kernel in [sn.SobolevKernel(2.0), sn.GaussianKernel()]:
        assert jnp.allclose(kernel.fitted(points).scale, exact)
        assert jnp.allclose(
            jax.jit(lambda k, p: k.fitted(p).scale)(kernel, points), exact
        )
    given = sn.SobolevKernel(2.0, 0.1)
    assert given.fitted(points) is given


def test_kernels_keep_float32(getkey):
    points = jr.uniform(getkey(), (20, 3), jnp.float32)
    kernel = sn.SobolevKernel(4.3, 0.5)
    matrix = kernel.matrix(points)
    assert matrix.dtype == jnp.float32
    exact = kernel.matrix(points.astype(jnp.float64))
    np.testing.assert_allclose(matrix, exact, rtol=2e-5)
    far = bessel_potential(30.0, jnp.array(90.0**2, jnp.float32))
    assert 0 <= far < 1e-15  # 90^30 and 30! are infinite in float32


@pytest.mark.parametrize(
    "kernel",
    [sn.SobolevKernel(2.5, 0.3), sn.GaussianKernel(0.7), sn.SobolevKernel(2.5)],
)
def test_points_of_an_integer_type_keep_the_length_scale(kernel):
    whole = jnp.array([[0, 0], [1, 2], [0, 1]])
    points = whole.astype(float)
    found, wanted = (kernel.fitted(p).matrix(p) for p in (whole, points))
    assert jnp.array_equal(found, wanted)
    assert jnp.all(jnp.isfinite(wanted)) and wanted[0, 1] > 0


def test_a_function_of_two_points_is_a_kernel():
    kernel = sn.FunctionKernel(lambda x, y: 1 + jnp.minimum(x[0], y[0]), smoothness=0)
    points = jnp.array([[1.0], [2.0]])
    assert jnp.array_equal(kernel.matrix(points), jnp.array([[2.0, 2.0], [2.0, 3.0]]))
    assert kernel.smoothness(1) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sn.SobolevKernel(0), "positive order"),
        (lambda: sn.SobolevKernel(2, scale=-1.0), "positive number. Got -1.0"),
        (lambda: sn.GaussianKernel(jnp.inf), "positive number. Got inf"),
        (lambda: sn.SobolevKernel(1, 1.0)(jnp.zeros(2), jnp.ones(2)), "above 1 only"),
        (lambda: sn.SobolevKernel(1.5).smoothness(3), "above 1.5 only"),
        (lambda: sn.SobolevKernel(2)(jnp.zeros(1), jnp.ones(1)), "fitted"),
        (lambda: sn.GaussianKernel(1.0)(jnp.zeros(2), jnp.ones(3)), "two points"),
        (lambda: sn.GaussianKernel().fitted(jnp.zeros((1, 2))), "Pass a `scale`"),
        (lambda: sn.FunctionKernel(3), "needs a function"),
        (lambda: sn.FunctionKernel(max, smoothness=-1), "at least 0"),
        (
            lambda: sn.FunctionKernel(lambda x, y: x)(jnp.zeros(2), jnp.ones(2)),
            "returns a scalar",
        ),
    ],
)
def test_what_is_wrong_with_a_kernel_is_said(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
