"""What every metric promises, and what single metrics are, against exact values."""

import math

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import sobng as sn
from sobng.linalg.factorisation import LinearMap, QuadraticForm


INTERVAL = sn.Interval(0.0, 1.0)
PROBLEM = sn.Problem(
    sn.Condition(
        lambda u, x, args: sn.laplacian(u)(x) - u(x) + 1.0,
        INTERVAL.interior,
        name="equation",
    ),
    sn.Dirichlet(INTERVAL.boundary, 1.0, exact=False, name="ends"),
)


class Positive(eqx.Module):
    """The exponential of a network."""

    field: sn.MLP

    def __call__(self, x):
        return jnp.exp(self.field(x))


def make_system(num=40, key=0, width=6):
    first, second = jr.split(jr.key(key))
    field = Positive(sn.MLP(1, width=width, key=first))
    points = sn.discretise(PROBLEM, num, key=second)
    return sn.System(PROBLEM, field, points)


def slope_and_value(u, x, args):
    return jnp.stack([u(x), 0.1 * sn.partial(u, 0)(x)])


METRICS = {
    "sobolev 0": sn.SobolevMetric(0),
    "sobolev 1": sn.SobolevMetric(1),
    "sobolev 2, extension": sn.SobolevMetric(2, extension=True, scale=0.3),
    "sobolev 1/2": sn.SobolevMetric(0.5),
    "sobolev -1": sn.SobolevMetric(-1, boundary="dirichlet"),
    "sobolev -3/2, homogeneous": sn.SobolevMetric(-1.5, homogeneous=True, scale=0.3),
    "sobolev 1, homogeneous": sn.SobolevMetric(1, homogeneous=True),
    "sobolev 1, weighted": sn.SobolevMetric(1, weights=lambda x: 1 + x[0]),
    "energy": sn.EnergyMetric(),
    "fisher-rao": sn.FisherRaoMetric(),
    "wasserstein": sn.WassersteinMetric(),
    "kernel": sn.KernelMetric(sn.SobolevKernel(1.7)),
    "residual kernel": sn.PDEKernelMetric(sn.SobolevKernel(3)),
    "kronecker": sn.KroneckerMetric(),
    "kronecker, kernel": sn.KroneckerMetric(lambda x, y: jnp.exp(-jnp.sum(abs(x - y)))),
    "own": sn.LocalMetric(slope_and_value),
    "sum": 2 * sn.SobolevMetric(1) + sn.EuclideanMetric(),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@every_metric
def test_products_are_those_of_the_factor_and_other_points_compile_nothing(metric):
    traces = 0

    @eqx.filter_jit
    def both(gram, params, vector):
        nonlocal traces
        traces += 1
        return gram.factor(params), gram.product(params, None, vector)

    system = make_system()
    vector = jr.normal(jr.key(3), (system.num_params,))
    for key in range(3):
        sampler = {"equation": sn.Uniform(40)}
        points = sn.discretise(PROBLEM, sampler=sampler, key=jr.key(key))
        moved = system.with_points(points)
        factor, product = both(metric.on(moved), moved.params, vector)
        wanted = factor.T @ (factor @ vector)
        assert jnp.allclose(product, wanted, rtol=1e-9, atol=1e-11)
    assert traces == 1


@pytest.mark.parametrize("factorisation", [sn.Dense(), sn.Krylov(8)])
def test_both_solvers_descend_under_jit(factorisation):
    system = make_system(20, width=3)
    metric = sn.SobolevMetric(1)

    @jax.jit
    def run(params):
        one = sn.GaussNewton(metric, factorisation=factorisation).on(system)
        two = sn.NaturalGradient(metric, factorisation=factorisation).on(system)
        options = {"max_steps": 3, "throw": False}
        fits = (
            optx.least_squares(system.residual, one, params, **options).value,
            optx.minimise(system.loss, two, params, **options).value,
        )
        return [system.loss(fit) for fit in fits]

    start = system.loss(system.params)
    assert all(loss < 0.9 * start for loss in run(system.params))


def gram_of(metric, system):
    factor = metric.on(system).factor(system.params)
    return factor.T @ factor


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("metric", [None, sn.SobolevMetric(1)])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_krylov_steps_are_the_dense_ones_once_the_space_is_full(damping, metric, shape):
    rows, params = shape
    one, two, three = jr.split(jr.key(0), 3)
    jacobian = jr.normal(one, shape)
    residual = jr.normal(two, (rows,))
    factor = jr.normal(three, (params + 3, params))
    form = QuadraticForm(lambda: factor, lambda v: factor.T @ (factor @ v))
    form = None if metric is None else form
    linear = LinearMap(
        params,
        lambda: jacobian,
        lambda r: (jacobian.T @ jacobian, jacobian.T @ r),
        lambda v: jacobian @ v,
        lambda w: jacobian.T @ w,
        lambda: jacobian @ jacobian.T,
    )
    steps = [
        f.least_squares(linear, residual, form, 1e-9).step(damping)
        for f in (sn.Dense(), sn.Krylov(30, inner=200))
    ]
    assert jnp.allclose(*steps, rtol=1e-6, atol=1e-8)


def test_a_krylov_step_of_a_gram_matrix_is_the_dense_one():
    factor = jr.normal(jr.key(0), (9, 14))
    gradient = jr.normal(jr.key(1), (14,))
    form = QuadraticForm(lambda: factor, lambda v: factor.T @ (factor @ v))
    wanted = -jnp.linalg.solve(factor.T @ factor + 0.1 * jnp.eye(14), gradient)
    for factorisation in (sn.Dense(), sn.Krylov(14)):
        step = factorisation.quadratic(form, gradient).step(0.1)
        assert jnp.allclose(step, wanted, rtol=1e-9, atol=1e-10)


class Mixture(eqx.Module):
    """A Gaussian bump that can be moved."""

    centre: jax.Array
    width: float = eqx.field(static=True)

    def __call__(self, x):
        square = jnp.sum((x - self.centre) ** 2) / self.width**2
        return jnp.exp(-square / 2) / (2 * math.pi * self.width**2) ** (x.size / 2)


def density_system(dim, num, width=0.7):
    domain = sn.Interval(-5.0, 5.0) if dim == 1 else sn.Box((-5.0,) * 2, (5.0,) * 2)
    energy = sn.Energy(lambda u, x, args: u(x) ** 2, domain)
    points = sn.discretise(energy, num, key=jr.key(0))
    return sn.System(energy, Mixture(jnp.full(dim, 0.3), width), points)


@pytest.mark.parametrize(("dim", "num", "accuracy"), [(1, 200, 1e-10), (2, 2500, 3e-3)])
def test_moving_a_unit_of_mass_costs_one_in_the_wasserstein_metric(dim, num, accuracy):
    gram = gram_of(sn.WassersteinMetric(), density_system(dim, num))
    assert np.allclose(gram, np.eye(dim), atol=accuracy)


def test_a_long_box_has_no_more_cosines_than_its_points_resolve():
    # 120 x 13 points by default, on which 20 cosines of the short axis are dependent.
    long = sn.Box((-5.0, -0.5), (5.0, 0.5))
    energy = sn.Energy(lambda u, x, args: u(x) ** 2, long)
    field = Mixture(jnp.array([0.3, 0.0]), 0.7)
    system = sn.System(energy, field, sn.discretise(energy, key=jr.key(0)))
    # What the box holds of the mass moves along it as a whole, and little across it.
    points, weights = system.collocation.points[""], system.collocation.weights[""]
    mass = weights @ jax.vmap(field)(points)
    gram = gram_of(sn.WassersteinMetric(), system)
    assert np.isclose(gram[0, 0], mass, rtol=3e-2)
    assert 0 <= gram[1, 1] < mass
    with pytest.raises(ValueError, match="leave `modes` out"):
        sn.WassersteinMetric(modes=20).on(system)


@pytest.mark.parametrize("width", [0.5, 0.7])
def test_moving_a_gaussian_costs_its_precision_in_the_fisher_rao_metric(width):
    gram = gram_of(sn.FisherRaoMetric(), density_system(1, 200, width))
    assert np.isclose(gram[0, 0], 1 / width**2, rtol=1e-10)


def test_the_wasserstein_factor_solves_the_weighted_elliptic_equation():
    system = density_system(2, 400)
    gram = sn.WassersteinMetric(modes=4).on(system)
    factor = gram.factor(system.params)
    # The dense form Z^T (C^T diag(rho) C)^-1 Z with C the gradients of the cosines.
    points, weights = system.collocation.points[""], system.collocation.weights[""]
    density = jax.vmap(system.unknown(system.params))(points)
    slopes, values = gram.transform.slopes, gram.transform.values
    density = jnp.maximum(density, 1e-10 * jnp.max(density))
    stiffness = jnp.einsum("n,ndk,ndl->kl", weights * density, slopes, slopes)
    tangent = jax.vmap(jax.jacrev(lambda p, x: system.unknown(p)(x)), (None, 0))
    rows = tangent(system.params, points).centre
    load = values.T @ (weights[:, None] * rows)
    wanted = load.T @ jnp.linalg.solve(stiffness, load)
    assert jnp.allclose(factor.T @ factor, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2])
def test_boundary_terms_are_those_of_the_minimal_extension(order):
    system = make_system(60)
    gram = gram_of(sn.SobolevMetric(order, extension=True), system)
    inside = gram_of(sn.SobolevMetric(order), system)
    flat, unravel = jfu.ravel_pytree(system.params)

    def tangent(x):
        return jax.jacrev(lambda f: system.unknown(unravel(f))(x))(flat)

    wanted = 0.0
    for end, normal in ((0.0, -1.0), (1.0, 1.0)):
        x = jnp.array([end])
        value = tangent(x)
        slope = normal * jax.jacfwd(tangent)(x)[:, 0]
        outer = jnp.outer
        if order == 1:
            wanted += outer(value, value)
        else:
            wanted += 2 * outer(value, value) + 2 * outer(slope, slope)
            wanted += outer(value, slope) + outer(slope, value)
    assert jnp.allclose(gram - inside, wanted, rtol=1e-9, atol=1e-9)


def test_a_scale_of_zero_leaves_an_axis_out():
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    energy = sn.Energy(lambda u, x, args: u(x) ** 2, square)
    field = sn.MLP(2, width=3, key=jr.key(0))
    system = sn.System(energy, field, sn.discretise(energy, 100, key=jr.key(1)))
    gram = gram_of(sn.SobolevMetric(1, scale=(0.0, 2.0)), system)

    def own(u, x, args):
        return jnp.stack([u(x), 2 * sn.partial(u, 1)(x)])

    assert jnp.allclose(gram, gram_of(sn.LocalMetric(own), system), rtol=1e-12)


def test_a_whole_order_is_the_same_as_a_float():
    assert eqx.tree_equal(sn.SobolevMetric(2.0), sn.SobolevMetric(2))
    assert eqx.tree_equal(sn.SobolevMetric(0.0), sn.SobolevMetric(0))
    assert sn.SobolevMetric(-1.0).norm is not None


def test_sums_and_multiples_are_those_of_the_gram_matrices():
    system = make_system()
    one, two = sn.SobolevMetric(1), sn.FisherRaoMetric()
    total = gram_of(3 * one + two + sn.EuclideanMetric(), system)
    wanted = 3 * gram_of(one, system) + gram_of(two, system)
    assert jnp.allclose(total, wanted + jnp.eye(system.num_params), rtol=1e-10)


def test_a_product_metric_measures_each_entry_by_its_own():
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: u["k"] * sn.laplacian(u["u"])(x) + 1.0,
            INTERVAL.interior,
            name="equation",
        )
    )
    unknown = {"u": sn.MLP(1, width=3, key=jr.key(0)), "k": jnp.ones(())}
    system = sn.System(problem, unknown, sn.discretise(problem, 20, key=jr.key(1)))
    metric = sn.ProductMetric({"u": sn.SobolevMetric(1), "k": sn.EuclideanMetric()})
    gram = gram_of(metric, system)
    # "k" comes first in the flat parameters, as keys are sorted.
    assert np.isclose(gram[0, 0], 1.0)
    assert not np.any(gram[0, 1:])
    assert np.linalg.matrix_rank(gram[1:, 1:]) > 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sn.SobolevMetric(-1, extension=True), "by its symbol"),
        (lambda: sn.SobolevMetric(0.5, weights=lambda x: 1.0), "by its symbol"),
        (lambda: sn.SobolevMetric(-1, boundary="zero"), "'dirichlet'"),
        (lambda: sn.SobolevMetric(1, scale=-1.0), "length"),
        (lambda: sn.SobolevMetric(1, scale=(1.0, 1.0)).on(make_system()), "2 scales"),
        (
            lambda: sn.SobolevMetric(1, extension=True, homogeneous=True),
            "boundary terms",
        ),
        (lambda: -1.0 * sn.EuclideanMetric(), "positive"),
        (lambda: sn.ProductMetric({}), "dict from names"),
        (lambda: sn.ProductMetric({"v": sn.SobolevMetric()}).on(make_system()), "'v'"),
        (lambda: sn.LocalMetric(1.0), "function"),
        (lambda: sn.Krylov(0), "at least one"),
    ],
)
def test_bad_metrics_get_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_field_with_kinks_is_refused_by_the_orders_that_it_does_not_reach():
    field = sn.MLP(1, width=6, activation=jax.nn.relu, key=jr.key(0))
    points = sn.discretise(PROBLEM, 20, key=jr.key(1))
    system = sn.System(PROBLEM, field, points)
    sn.SobolevMetric(0).on(system)
    with pytest.raises(ValueError, match="smooth activation"):
        sn.SobolevMetric(2).on(system)


def test_a_solver_that_is_bound_to_other_points_is_told_so():
    system, other = make_system(20), make_system(30)
    solver = sn.GaussNewton().on(other)
    with pytest.raises(ValueError, match="other points"):
        optx.least_squares(system.residual, solver, system.params)


@pytest.mark.parametrize("metric", [sn.FisherRaoMetric(), sn.WassersteinMetric()])
def test_a_metric_of_densities_refuses_fields_that_are_not_positive(metric):
    field = sn.MLP(1, width=3, key=jr.key(0))
    points = sn.discretise(PROBLEM, 20, key=jr.key(1))
    with pytest.raises(ValueError, match="positive by construction"):
        metric.on(sn.System(PROBLEM, field, points))
