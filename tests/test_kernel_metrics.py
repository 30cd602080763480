"""Kernel metrics against integrals, closed forms, dense Gaussian processes, inverses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.linalg.spectrum import quadratic_spectrum
from sobng.linalg.whitening import whiten, Whitening
from sobng.metrics.functionals import residual_kernel
from sobng.metrics.regularity import check_smooth


def system_of(problem, unknown, **points):
    """A system on given points, with weights that no kernel metric may look at."""
    weights = {k: jnp.linspace(1.0, 2.0, len(p)) for k, p in points.items()}
    return sn.System(problem, unknown, sn.Collocation(points, weights))


def line(a, b, num):
    return jnp.linspace(a, b, num)[:, None]


SQUARE = sn.Box((0.0, 0.0), (1.0, 1.0))
UNIT = sn.Interval(0.0, 1.0)
VALUES = {
    domain.dim: sn.Problem(
        sn.Condition(lambda u, x, args: u(x), domain.interior, name="value")
    )
    for domain in (UNIT, SQUARE)
}


def values_on(unknown, points):
    """A system whose problem asks for the values alone."""
    return system_of(VALUES[points.shape[1]], unknown, value=points)


@eqx.filter_jit
def factor_of(gram, params, args=None):
    return gram.factor(params, args)


@eqx.filter_jit
def linearised(system):
    """Jacobian and residual, with the roots of the weights in their rows."""
    return system.jacobian(system.params), system.residual(system.params)


def gram_of(metric, system):
    factor = factor_of(metric.on(system), system.params)
    return factor.T @ factor


def squared_norm(function, order, a, b, num):
    """Of the interpolant of least norm."""
    points = line(a, b, num)
    white = whiten(sn.SobolevKernel(order, scale=1.0).matrix(points))
    return jnp.sum(white(function(points)) ** 2)


def tanh3(x):
    return jnp.tanh(3 * x)


@pytest.mark.parametrize(
    ("function", "order", "ends", "limit", "rate"),
    [
        (tanh3, 1, (-1.0, 1.0), 7.3167515990, 2),
        (tanh3, 2, (-1.0, 1.0), 42.2129452219, 1),
        (lambda x: jnp.exp(-2 * x), 2, (0.0, 1.0), 20.2454210903, 1),
    ],
)
def test_interpolated_norms_grow_to_those_of_the_least_extension(
    function, order, ends, limit, rate
):
    found = [squared_norm(function, order, *ends, num) for num in (17, 65, 257)]
    missing = limit - np.array(found)
    assert np.all(missing > 0)
    # Three quarters of the points' distance are taken away from one to the next.
    np.testing.assert_allclose(missing[1] / missing[2], 4**rate, rtol=0.05)
    if function is tanh3:
        table = {1: (7.26787, 7.31366, 7.31656), 2: (42.1419, 42.1992, 42.2095)}
        np.testing.assert_allclose(found, table[order], atol=5e-5)


def test_norms_of_steps_and_kinks_grow_without_bound():
    def norms(function, order):
        return [squared_norm(function, order, -1.0, 1.0, num) for num in (17, 65, 257)]

    step = norms(lambda x: jnp.where(x > 0, 1.0, 0.0), 1)
    kink = norms(lambda x: jnp.maximum(x, 0), 2)
    np.testing.assert_allclose(step, [9.9155, 33.979, 129.995], rtol=1e-4)
    np.testing.assert_allclose(kink, [21.909, 63.685, 230.02], rtol=1e-4)


def network(dim=1, width=5, out=None, seed=0):
    return sn.MLP(dim, out=out, width=width, key=jr.key(seed))


def test_the_gram_matrix_tends_to_that_of_h1_with_its_boundary_terms():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    points = {"value": jnp.asarray(nodes + 1)[:, None] / 2}
    exact = values_on(network(), points["value"])
    exact = exact.with_points(
        sn.Collocation(points, {"value": jnp.asarray(weights) / 2})
    )
    limit = gram_of(sn.SobolevMetric(1, extension=True), exact)
    metric = sn.KernelMetric(sn.SobolevKernel(1, scale=1.0))
    grams = [
        gram_of(metric, values_on(network(), line(0.0, 1.0, num)))
        for num in (17, 33, 65)
    ]
    errors = [jnp.linalg.norm(limit - gram) for gram in grams]
    np.testing.assert_allclose(errors[1] / errors[2], 4.0, rtol=0.02)
    for less, more in zip(grams, [*grams[1:], limit], strict=True):
        lowest = jnp.linalg.eigvalsh(more - less)[0]
        assert lowest > -1e-12 * jnp.linalg.norm(limit)  # rounding


def test_the_factor_is_a_root_of_the_explicit_form_for_every_component(getkey):
    points = jr.uniform(getkey(), (20, 2))
    field = network(2, width=4, out=2)
    system = values_on(field, points)
    kernel = sn.SobolevKernel(1.5)
    inverse = jnp.linalg.inv(kernel.fitted(points).matrix(points))
    roots = jnp.sqrt(system.collocation.weights["value"])
    rows = linearised(system)[0].reshape(20, 2, -1) / roots[:, None, None]
    exact = jnp.einsum("nop,nm,moq->pq", rows, inverse, rows)
    found = gram_of(sn.KernelMetric(kernel), system)
    assert jnp.allclose(found, exact, rtol=1e-9, atol=1e-10)


def test_fewer_of_the_points_give_less(getkey):
    points = jr.uniform(getkey(), (40, 2))
    system = values_on(network(2), points)
    less, more = (
        gram_of(sn.KernelMetric(sn.SobolevKernel(2.5, 0.5), max_points=num), system)
        for num in (25, 40)
    )
    assert jnp.linalg.eigvalsh(more - less)[0] > -1e-9 * jnp.linalg.norm(more)
    assert jnp.trace(less) < jnp.trace(more)


def test_the_tangent_kernel_reproduces_and_lies_below_the_kernel(getkey):
    points = jr.uniform(getkey(), (40, 2))
    system = values_on(network(2), points)
    kernel = sn.SobolevKernel(2.5, 0.5)
    roots = jnp.sqrt(system.collocation.weights["value"])
    rows = linearised(system)[0] / roots[:, None]
    matrix = kernel.matrix(points)
    gram = gram_of(sn.KernelMetric(kernel), system)
    tangent = rows @ jnp.linalg.solve(gram, rows.T)
    reproduced = tangent @ jnp.linalg.solve(matrix, rows)
    assert jnp.allclose(reproduced, rows, rtol=1e-7, atol=1e-8)
    assert jnp.linalg.eigvalsh(matrix - tangent)[0] > -1e-9


def test_all_forms_of_a_step_agree_and_values_move_along_the_gradient(getkey):
    points = jr.uniform(getkey(), (12, 2))
    system = values_on(network(2), points)  # 12 rows, 21 parameters
    kernel = sn.SobolevKernel(1.5, 0.3)
    matrix = kernel.matrix(points)
    assert jnp.linalg.cond(matrix) < 1e4
    roots = jnp.sqrt(system.collocation.weights["value"])
    weighted, residual = linearised(system)
    rows, cotangent = weighted / roots[:, None], roots * residual
    factor = factor_of(sn.KernelMetric(kernel).on(system), system.params)
    damping = 1e-3
    eye = jnp.eye(system.num_params)
    gram = rows.T @ jnp.linalg.solve(matrix, rows)
    primal = jnp.linalg.solve(gram + damping * eye, rows.T @ cotangent)
    dual = rows.T @ jnp.linalg.solve(
        rows @ rows.T + damping * matrix, matrix @ cotangent
    )
    whitened = -quadratic_spectrum(factor, rows.T @ cotangent).step(damping)
    np.testing.assert_allclose(dual, primal, rtol=1e-9)
    np.testing.assert_allclose(whitened, primal, rtol=1e-9)
    spectrum = quadratic_spectrum(factor, rows.T @ cotangent)
    # Without damping only the part in the range of the factor: the rest is rounding.
    undamped = spectrum.basis @ (spectrum.slope / spectrum.curvature)
    np.testing.assert_allclose(rows @ undamped, matrix @ cotangent, rtol=1e-9)


def poisson(u, x, args):
    return -sn.laplacian(u)(x) - 1.0


def reaction(u, x, args):
    return -sn.laplacian(u)(x) + u(x) ** 2 - 1.0


def with_edge(residual, domain, weight=2.0):
    return sn.Problem(
        sn.Condition(residual, domain.interior, name="equation", weight=weight),
        sn.Dirichlet(domain.boundary, 0.5, exact=False, name="edge"),
    )


POISSON = with_edge(poisson, UNIT)
REACTION = with_edge(reaction, UNIT, weight=1.0)
KERNEL = sn.SobolevKernel(3, 0.3)


def interval_system(problem, width, num=12):
    points = {"equation": line(0.05, 0.95, num), "edge": line(0.0, 1.0, 2)}
    return system_of(problem, network(width=width), **points)


def row_weights(system):
    """What the loss multiplies each row of the residual with."""
    weights = system.collocation.weights
    parts = [c.weight * weights[c.name] for c in system.problem.conditions]
    return jnp.concatenate(parts)


def test_residual_kernels_are_the_closed_forms_for_the_laplacian(getkey):
    x, z = jr.uniform(getkey(), (8, 2)), jr.uniform(getkey(), (5, 2)).at[:, 0].set(0.0)
    system = system_of(with_edge(poisson, SQUARE), network(2), equation=x, edge=z)
    order = 4.5
    found = residual_kernel(sn.SobolevKernel(order, 1.0), system, system.params, None)
    one, two, three = (sn.SobolevKernel(order - k, 1.0) for k in range(3))
    # (1 - Laplace) lowers the order by one.
    inside = one.matrix(x) - 2 * two.matrix(x) + three.matrix(x)
    mixed = two.matrix(x, z) - one.matrix(x, z)
    exact = jnp.block([[inside, mixed], [mixed.T, one.matrix(z)]])
    assert jnp.allclose(found, exact, rtol=1e-11, atol=1e-14)


class Waves(eqx.Module):
    """A kernel of finite rank, for which every functional is a sum."""

    frequencies: jax.Array

    def features(self, x):
        return jnp.sin(self.frequencies @ x + 1.0)

    def __call__(self, x, y):
        return self.features(x) @ self.features(y)


def test_residual_kernels_are_those_of_the_linearised_coupled_system(getkey):
    def flow(u, x, args):
        v, p = u["v"], u["p"]
        slope = sn.partial(v, 0)(x)
        return args * sn.laplacian(v)(x) - v(x)[0] * slope - sn.partial(p, 0)(x)

    def mass(u, x, args):
        return sn.partial(u["v"], 0)(x)[0] + x[0] * u["p"](x)

    problem = sn.Problem(
        sn.Condition(flow, UNIT.interior, name="flow"),
        sn.Condition(mass, UNIT.interior, name="mass"),
    )
    unknown = {"v": network(width=3, out=2), "p": network(width=3, seed=1)}
    points = {name: jr.uniform(getkey(), (4, 1)) for name in ("flow", "mass")}
    system = system_of(problem, unknown, **points)
    waves = Waves(3 * jr.normal(getkey(), (7, 1)))
    kernel = sn.FunctionKernel(waves)
    found = residual_kernel(kernel, system, system.params, 0.1)

    def residuals(coefficients):
        def moved(u, change):
            return lambda x: u(x) + change @ waves.features(x)

        new = {name: moved(u, coefficients[name]) for name, u in unknown.items()}
        rows = [
            jax.vmap(c.residual, (None, 0, None))(new, points[c.name], 0.1)
            for c in problem.conditions
        ]
        return jnp.concatenate([jnp.ravel(r) for r in rows])

    zero = {"v": jnp.zeros((2, 7)), "p": jnp.zeros(7)}
    jacobian = jax.jit(jax.jacfwd(residuals))(zero)
    rows = jnp.concatenate(
        [leaf.reshape(len(found), -1) for leaf in jax.tree.leaves(jacobian)], axis=1
    )
    assert jnp.allclose(found, rows @ rows.T, rtol=1e-10, atol=1e-10)


def test_steps_are_those_of_the_gaussian_process_of_the_linearised_equation():
    system = interval_system(REACTION, 12)  # 14 rows, 37 parameters
    points = system.collocation.points
    ones = {name: jnp.ones(len(p)) for name, p in points.items()}
    system = system.with_points(sn.Collocation(points, ones))
    factor = factor_of(sn.PDEKernelMetric(KERNEL).on(system), system.params)
    rows, residual = linearised(system)
    matrix = residual_kernel(KERNEL, system, system.params, None)
    # Noise mu: the posterior mean has the residuals -K (K + mu)^-1 r.
    noise = 1e-2 * jnp.max(matrix)
    mean = -matrix @ jnp.linalg.solve(matrix + noise * jnp.eye(14), residual)
    damped = jnp.concatenate([rows, jnp.sqrt(noise) * factor])
    target = jnp.concatenate([-residual, jnp.zeros(14)])
    step = jnp.linalg.lstsq(damped, target)[0]
    assert jnp.linalg.norm(rows @ step - mean) < 1e-8 * jnp.linalg.norm(mean)


def test_an_undamped_step_moves_the_residuals_along_the_gradient_in_the_space():
    system = interval_system(POISSON, 12)
    factor = factor_of(sn.PDEKernelMetric(KERNEL).on(system), system.params)
    weighted, residual = linearised(system)
    matrix = residual_kernel(KERNEL, system, system.params, None)
    roots = jnp.sqrt(row_weights(system))
    spectrum = quadratic_spectrum(factor, weighted.T @ residual)
    step = -spectrum.basis @ (spectrum.slope / spectrum.curvature)
    # Of the loss |r|^2 / 2, with r = root * D u: the gradient is D* (root r).
    gradient = -matrix @ (roots * residual)
    moved = weighted @ step / roots
    assert jnp.linalg.norm(moved - gradient) < 1e-8 * jnp.linalg.norm(gradient)


def test_with_more_residuals_than_parameters_it_is_projected():
    system = interval_system(POISSON, 3)  # 14 rows, 10 parameters
    factor = factor_of(sn.PDEKernelMetric(KERNEL).on(system), system.params)
    weighted, residual = linearised(system)
    matrix = residual_kernel(KERNEL, system, system.params, None)
    roots = jnp.sqrt(row_weights(system))
    rows, slope = weighted / roots[:, None], weighted.T @ residual
    step = quadratic_spectrum(factor, slope).step(0.0)
    left = -matrix @ (roots * residual) - rows @ step
    # Orthogonal to the tangents in the inner product of K^-1.
    product = rows.T @ jnp.linalg.solve(matrix, left)
    assert jnp.linalg.norm(product) < 1e-8 * jnp.linalg.norm(slope)


def test_the_identity_for_a_kernel_matrix_gives_gauss_newton():
    system = interval_system(POISSON, 3)
    gram = sn.PDEKernelMetric(KERNEL).on(system)
    # For rows scaled by the roots of their weights: the matrix 1 / weight without.
    triangle = jnp.diag(row_weights(system) ** -0.5)
    gram = eqx.tree_at(lambda g: g.whitening, gram, Whitening(triangle, jnp.zeros(())))
    found = factor_of(gram, system.params)
    assert jnp.allclose(found, linearised(system)[0], rtol=1e-12, atol=1e-14)


def test_only_an_operator_that_sees_field_or_args_is_made_anew():
    def own(residual):
        system = interval_system(with_edge(residual, UNIT), 3)
        return sn.PDEKernelMetric(KERNEL).on(system).whitening is None

    assert not own(lambda u, x, args: x[0] * sn.laplacian(u)(x) - jnp.exp(x[0]))
    assert own(reaction)
    assert own(lambda u, x, args: args * sn.laplacian(u)(x))
    assert own(lambda u, x, args: args["k"] * sn.laplacian(u)(x))


def test_a_nugget_is_added_only_where_rounding_demands_it_and_is_bounded():
    system = values_on(network(), line(0.0, 1.0, 50))
    nuggets = {}
    for kernel in (sn.SobolevKernel(2, 1.0), sn.GaussianKernel(1.0)):
        gram = sn.KernelMetric(kernel).on(system)
        nuggets[type(kernel)] = float(gram.transform.nugget)
        assert jnp.all(jnp.isfinite(factor_of(gram, system.params)))
    assert nuggets[sn.SobolevKernel] == 0.0
    assert 0.0 < nuggets[sn.GaussianKernel] <= 1e-8
    assert sn.KernelMetric(kernel, nugget=1e-3).on(system).transform.nugget == 1e-3
    # What is no kernel at all is not mended.
    whitening = whiten(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    assert whitening.nugget == 1e-8
    assert jnp.any(jnp.isnan(whitening.triangle))


def on_values(kernel, points, activation=jnp.tanh):
    field = sn.MLP(points.shape[1], width=5, activation=activation, key=jr.key(0))
    return sn.KernelMetric(kernel).on(values_on(field, points))


def on_residuals(kernel, entry=None):
    return sn.PDEKernelMetric(kernel).on(interval_system(POISSON, 3), entry)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sn.KernelMetric(2.0), "needs a kernel"),
        (lambda: sn.PDEKernelMetric(sn.GaussianKernel(), max_points=0), "at least 1"),
        (lambda: sn.KernelMetric(sn.GaussianKernel(), nugget=-1.0), "at least 0"),
        (lambda: on_values(sn.SobolevKernel(1), jnp.eye(2)), "above 1 only"),
        (lambda: on_values(sn.SobolevKernel(2), jnp.ones((3, 2))), "1 are distinct"),
        (
            lambda: on_values(sn.SobolevKernel(2), line(0.0, 1.0, 9), jax.nn.relu),
            "has jumps",
        ),
        (
            lambda: on_values(sn.SobolevKernel(2), line(0.0, 1.0, 9), jax.nn.elu),
            "has kinks",
        ),
        (
            lambda: on_values(
                sn.FunctionKernel(lambda x, y: -jnp.sum(x * y)), line(0.1, 1.0, 9)
            ),
            "singular",
        ),
        (lambda: on_residuals(sn.SobolevKernel(2.5)), r"above 2.5 .*order=3"),
        (lambda: on_residuals(KERNEL, "u"), "whole unknown"),
    ],
)
def test_what_is_wrong_with_a_kernel_metric_is_said(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_only_rough_fields_are_refused():
    points = line(-1.0, 1.0, 2)

    def look(activation, order, bandwidth=1.0):
        field = sn.MLP(
            1, width=20, activation=activation, key=jr.key(0), bandwidth=bandwidth
        )
        check_smooth("a metric", values_on(field, points), points, None, order)

    look(jnp.sin, 5, bandwidth=200.0)
    look(jax.nn.gelu, 5, bandwidth=100.0)
    look(jax.nn.elu, 1)
    for activation, order in [(jax.nn.elu, 2), (jax.nn.relu, 1), (jnp.abs, 1)]:
        with pytest.raises(ValueError, match="smooth activation"):
            look(activation, order)


def test_resampled_points_will_do_inside_jit(getkey):
    system = values_on(network(2), jr.uniform(getkey(), (40, 2)))
    metric = sn.KernelMetric(sn.SobolevKernel(2.5))

    @jax.jit
    def factor(points):
        weights = system.collocation.weights
        moved = system.with_points(sn.Collocation({"value": points}, weights))
        return metric.on(moved).factor(moved.params)

    points = system.collocation.points["value"]
    outside = factor_of(metric.on(system), system.params)
    assert jnp.allclose(factor(points), outside, rtol=1e-9, atol=1e-10)


def test_kernel_metrics_keep_float32(getkey):
    points = jr.uniform(getkey(), (20, 2), jnp.float32)
    field = sn.MLP(2, width=4, key=getkey(), dtype=jnp.float32)
    system = values_on(field, points)
    gram = sn.KernelMetric(sn.SobolevKernel(2.5)).on(system)
    factor = factor_of(gram, system.params)
    assert factor.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(factor))
