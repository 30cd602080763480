"""The tangent space: its kernel, projections onto it, and what it lacks."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import sobng as sn
from sobng.tangent.missed import residual_left


INTERVAL = sn.Interval(0.0, 1.0)
GRID = jnp.linspace(0.0, 1.0, 41)[:, None]
NODES, WEIGHTS = map(jnp.asarray, INTERVAL.interior.quadrature(200))
# The H^1 norm of functions extended to the whole line, and its kernel.
METRIC = sn.SobolevMetric(1, extension=True)


def line(x, y):
    return jnp.exp(-jnp.abs(x - y)[0]) / 2


@jax.jit
def pairs(points):
    """The kernel at all pairs of points."""
    return jax.vmap(lambda x: jax.vmap(lambda y: line(x, y))(points))(points)


def network(key=0, width=3, **options):
    return sn.MLP(1, width=width, key=jr.key(key), domain=INTERVAL, **options)


def inner(v, w):
    """The inner product of H^1(R) for functions that are extended least."""

    def product(x):
        return v(x) * w(x) + jax.grad(v)(x)[0] * jax.grad(w)(x)[0]

    @jax.jit
    def total():
        ends = jnp.array([[0.0], [1.0]])
        traces = jax.vmap(lambda x: v(x) * w(x))(ends)
        return jnp.sum(WEIGHTS * jax.vmap(product)(NODES)) + jnp.sum(traces)

    return total()


class Basis(sn.AbstractField):
    """A combination of given functions."""

    coefficients: jax.Array
    functions: tuple = eqx.field(static=True)
    dim: int = 1
    out: int | None = None

    def __call__(self, x):
        return sum(c * f(x) for c, f in self._terms())

    def _terms(self):
        return zip(self.coefficients, self.functions, strict=True)

    def linear_leaves(self):
        return Basis(True, self.functions)


def cosine(k):
    return lambda x: jnp.cos(k * jnp.pi * x[0])


def sine(k):
    return lambda x: jnp.sin(k * jnp.pi * x[0])


class Turned(eqx.Module):
    """A field whose parameters are a linear function of others, perhaps of more."""

    parameters: jax.Array
    matrix: sn.Frozen
    field: sn.Frozen

    def __call__(self, x):
        params, rest = sn.partition(self.field.value)
        _, unravel = jfu.ravel_pytree(params)
        return sn.combine(unravel(self.matrix.value @ self.parameters), rest)(x)


def turned(field, matrix):
    flat, _ = jfu.ravel_pytree(sn.partition(field)[0])
    start = jnp.linalg.lstsq(matrix, flat)[0]
    return Turned(start, sn.Frozen(matrix), sn.Frozen(field))


def dense_jacobian(field, points):
    params, rest = sn.partition(field)
    flat, unravel = jfu.ravel_pytree(params)
    values = lambda flat: jax.vmap(sn.combine(unravel(flat), rest))(points)
    return jax.jit(jax.jacfwd(values))(flat)


def test_the_euclidean_kernel_is_the_neural_tangent_kernel():
    field = network(width=7, depth=2)
    kernel = sn.tangent_kernel(field)
    jacobian = dense_jacobian(field, GRID)
    assert jnp.allclose(kernel.matrix(GRID), jacobian @ jacobian.T, rtol=1e-12)
    assert jnp.allclose(kernel(GRID[3], GRID[8]), jacobian[3] @ jacobian[8])


def test_the_kernel_of_a_vector_field_is_a_matrix():
    field = network(out=2)
    kernel = sn.tangent_kernel(field, METRIC, domain=INTERVAL)
    pair = kernel.matrix(GRID[3:5])
    assert jnp.allclose(pair[:2, 2:], kernel(GRID[3], GRID[4]))
    # Both components share the hidden layer: its motions couple them.
    assert jnp.allclose(pair, pair.T) and abs(pair[0, 1]) > 1e-8
    first = sn.tangent_kernel(field, METRIC, domain=INTERVAL, observe=0)
    assert first(GRID[3], GRID[4]) == pytest.approx(float(pair[0, 2]))


def test_the_kernel_reproduces_the_tangent_space():
    kernel = sn.tangent_kernel(network(), METRIC, domain=INTERVAL)
    direction = jr.normal(jr.key(1), kernel.tangent.flat.shape)
    v = kernel.tangent.along(direction)
    y = jnp.array([0.37])
    assert inner(v, lambda x: kernel(x, y)) == pytest.approx(float(v(y)))


def test_the_kernel_lies_below_that_of_the_whole_space():
    kernel = sn.tangent_kernel(network(width=6), METRIC, domain=INTERVAL)
    rest = jnp.linalg.eigvalsh(pairs(GRID) - kernel.matrix(GRID))
    assert rest[0] > -1e-9 * rest[-1]


def test_interpolated_gram_matrices_grow_to_the_quadrature_one():
    system = sn.System(
        sn.Energy(lambda u, x, args: u(x), INTERVAL),
        network(),
        sn.Collocation({"": NODES}, {"": WEIGHTS}),
    )
    grams = []
    for num in (9, 17):
        points = jnp.linspace(0.0, 1.0, num)[:, None]
        jacobian = dense_jacobian(system.unknown(system.params), points)
        grams.append(jacobian.T @ jnp.linalg.solve(pairs(points), jacobian))
    factor = METRIC.on(system).factor(system.params)
    grams.append(factor.T @ factor)
    for less, more in zip(grams, grams[1:], strict=False):
        values = jnp.linalg.eigvalsh(more - less)
        assert values[0] > -1e-12 * jnp.linalg.norm(more)
    assert jnp.linalg.norm(grams[2] - grams[1]) < 0.02 * jnp.linalg.norm(grams[2])


def test_the_projected_gradient_is_orthogonal_to_what_it_lacks():
    points, cotangents = GRID[5::10], jnp.array([1.0, -2.0, 0.5, 1.0])
    gradient = sn.functional_gradient(line, points, cotangents)
    kernel = sn.tangent_kernel(network(), METRIC, domain=INTERVAL)
    projected = sn.functional_gradient(kernel, points, cotangents)
    # <grad l, v> = sum r_n v(x_n), for all v in the tangent space.
    for key in range(3):
        direction = jr.normal(jr.key(key), kernel.tangent.flat.shape)
        v = kernel.tangent.along(direction)
        wanted = cotangents @ jax.vmap(v)(points)
        assert inner(projected, v) == pytest.approx(float(wanted), abs=1e-9)
    assert inner(projected, projected) == pytest.approx(float(projected.norm) ** 2)
    missed = cotangents @ (pairs(points) - kernel.matrix(points)) @ cotangents
    pythagoras = gradient.norm**2 - projected.norm**2
    assert pythagoras == pytest.approx(float(missed), abs=1e-12)


def test_the_natural_gradient_moves_the_field_along_the_projection():
    problem = sn.Problem(
        sn.Condition(lambda u, x, args: u(x) - x[0], INTERVAL.interior, name="fit")
    )
    points = sn.discretise(problem, 100, key=jr.key(0))
    system = sn.System(problem, network(), points)
    kernel = sn.tangent_kernel(system, METRIC)
    gram = METRIC.on(system)
    slope, _ = jfu.ravel_pytree(jax.grad(system.loss)(system.params))
    model = sn.Dense().quadratic(gram.form(system.params, None), slope)
    moved = kernel.tangent.along(-model.step(0.0))
    x, w = points.points["fit"], points.weights["fit"]
    cotangents = w * (jax.vmap(system.unknown(system.params))(x) - x[:, 0])
    projected = sn.functional_gradient(kernel, x, cotangents)
    found, wanted = jax.vmap(moved)(GRID), jax.vmap(projected)(GRID)
    assert jnp.allclose(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("extra", [0, 4])
def test_the_kernel_does_not_depend_on_the_parametrisation(extra):
    # With more parameters than the network has the Gram matrix is singular.
    field = network()
    size = sum(leaf.size for leaf in jax.tree.leaves(sn.partition(field)[0]))
    matrix = jr.normal(jr.key(3), (size, size + extra))
    other = turned(field, matrix)
    kernels = [
        sn.tangent_kernel(f, METRIC, domain=INTERVAL).matrix(GRID)
        for f in (field, other)
    ]
    factors = []
    for f in (field, other):
        energy = sn.Energy(lambda u, x, args: u(x), INTERVAL)
        system = sn.System(energy, f, sn.Collocation({"": NODES}, {"": WEIGHTS}))
        factors.append(METRIC.on(system).factor(system.params))
    singular = jnp.linalg.svd(factors[1], compute_uv=False)[:size]
    bound = float(singular[0] / singular[-1]) * jnp.finfo(float).eps
    change = jnp.linalg.norm(kernels[0] - kernels[1]) / jnp.linalg.norm(kernels[0])
    # A few dozen roundings, each amplified by the condition number.
    assert change < 100 * bound < 1e-6
    # Damping is measured in the parameters and breaks it, as the neural kernel does.
    damped = [
        f @ jnp.linalg.solve(f.T @ f + 1e-3 * jnp.eye(f.shape[1]), f.T) for f in factors
    ]
    assert jnp.linalg.norm(damped[0] - damped[1]) > 1e-3


def test_the_spectrum_of_cosines_is_known():
    functions = tuple(cosine(k) for k in range(6))
    field = Basis(jnp.ones(6), functions)
    kernel = sn.tangent_kernel(field, sn.SobolevMetric(1), domain=INTERVAL)
    # (1 - d^2/dx^2) with natural ends has the eigenvalues 1 + (k pi)^2.
    wanted = 1 / (1 + (jnp.pi * jnp.arange(6.0)) ** 2)
    assert jnp.allclose(kernel.spectrum, wanted, rtol=1e-12)
    assert kernel.rank == 6
    assert kernel.condition_number == pytest.approx(1 + (5 * jnp.pi) ** 2)
    dimension = jnp.sum(wanted / (wanted + 0.01))
    assert kernel.effective_dimension(0.01) == pytest.approx(float(dimension))
    for k, function in enumerate(kernel.eigenfunctions(3)):
        values = jax.vmap(function)(GRID)
        size = 1.0 if k == 0 else 2**0.5
        assert jnp.allclose(values, values[0] * jax.vmap(cosine(k))(GRID), atol=1e-11)
        assert jnp.abs(values[0]) == pytest.approx(size)


def poisson_system(exact, functions):
    def equation(u, x, args):
        return sn.laplacian(u)(x) - sn.laplacian(exact)(x)

    problem = sn.Problem(sn.Condition(equation, INTERVAL.interior, name="equation"))
    field = Basis(jnp.zeros(len(functions)), functions)
    return sn.System(problem, field, sn.discretise(problem, 60, key=jr.key(0)))


def test_a_tangent_space_with_the_newton_direction_misses_nothing():
    both = lambda x: sine(1)(x) + 3 * sine(2)(x)
    found = sn.projection_error(poisson_system(both, (sine(1), sine(2))))
    assert found.error < 1e-12
    assert jnp.abs(found(jnp.array([0.3]))) < 1e-6


@pytest.mark.parametrize("metric", [None, sn.SobolevMetric(2)])
def test_a_tangent_space_orthogonal_to_the_gradient_misses_all(metric):
    system = poisson_system(sine(2), (sine(1),))
    assert sn.projection_error(system, metric).error == pytest.approx(1.0)


def test_the_projection_error_is_that_of_the_residual():
    system = poisson_system(lambda x: x[0] * jnp.exp(3 * x[0]), (sine(1), sine(2)))
    residual, jacobian = system.residual(system.params), system.jacobian(system.params)
    left = residual - jacobian @ jnp.linalg.lstsq(jacobian, residual)[0]
    wanted = float(jnp.linalg.norm(left) / jnp.linalg.norm(residual))
    assert residual_left(system, None, system.params) == pytest.approx(wanted)
    found = sn.projection_error(system)
    assert found.error == pytest.approx(wanted, rel=1e-10)
    assert found.rough < 1e-6


def test_what_is_missed_of_an_energy_is_the_field_that_is_missing():
    # The gradient in the metric of a quadratic energy is u - u*, here -u*.
    def density(u, x, args):
        source = sum((1 + (k * jnp.pi) ** 2) * cosine(k)(x) for k in (1, 2))
        return (sn.partial(u, 0)(x) ** 2 + u(x) ** 2) / 2 - source * u(x)

    energy = sn.Energy(density, INTERVAL)
    points = sn.discretise(energy, 60, key=jr.key(0))
    system = sn.System(energy, Basis(jnp.zeros(1), (cosine(1),)), points)
    found = sn.projection_error(system)
    first, second = 1 + jnp.pi**2, 1 + 4 * jnp.pi**2
    assert found.error == pytest.approx(float((second / (first + second)) ** 0.5))
    assert found.norm == pytest.approx(float(((first + second) / 2) ** 0.5))
    values = jax.vmap(found)(GRID)
    assert jnp.allclose(values, -jax.vmap(cosine(2))(GRID), atol=1e-5)


def test_an_unknown_coefficient_is_missed_as_an_array():
    def equation(u, x, args):
        return u["k"] * sn.laplacian(u["u"])(x) + sine(2)(x)

    problem = sn.Problem(
        sn.Condition(equation, INTERVAL.interior, name="equation"),
        sn.Dirichlet(INTERVAL.boundary, 0.0, of="u"),
    )
    unknown = sn.impose(problem, {"u": network(), "k": jnp.ones(())})
    system = sn.System(problem, unknown, sn.discretise(problem, 60, key=jr.key(0)))
    found = sn.projection_error(system)
    assert 0 < found.error < 1
    value = found(jnp.array([0.0]))
    assert value["k"].shape == () and jnp.abs(value["u"]) < 1e-12


def test_the_history_of_other_solvers_holds_the_projection_error():
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x) + sine(5)(x),
            INTERVAL.interior,
            name="equation",
        ),
        sn.Dirichlet(INTERVAL.boundary, 0.0),
    )
    solution = sn.solve(
        problem, network(), optax.adam(1e-3), key=jr.key(0), max_steps=150
    )
    found = solution.history["projection_error"]
    assert np.all((found > 0) & (found < 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sn.tangent_kernel(network(), METRIC), "Pass `domain=`"),
        (lambda: sn.tangent_kernel(network()).spectrum, "no domain"),
        (
            lambda: sn.tangent_kernel(network(), sn.EnergyMetric(), domain=INTERVAL),
            "needs the problem",
        ),
        (
            lambda: sn.tangent_kernel(network(), domain=INTERVAL).eigenfunctions(99),
            "Ask for as",
        ),
        (lambda: sn.functional_gradient(line, GRID, jnp.ones(3)), "one cotangent"),
        (lambda: sn.projection_error(network()), "without a problem"),
        (
            lambda: sn.projection_error(
                poisson_system(sine(2), (sine(1),)), sn.EuclideanMetric()
            ),
            "measures parameters",
        ),
        (lambda: sn.plot_tangent_kernel({}), "by label"),
    ],
)
def test_bad_questions_get_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("domain", "panels"), [(INTERVAL, 2), (sn.Disk((0.0, 0.0), 1.0), 3 + 2)]
)
def test_spectrum_and_eigenfunctions_are_drawn(domain, panels, tmp_path):
    field = sn.MLP(domain.dim, width=3, key=jr.key(0), domain=domain)
    kernel = sn.tangent_kernel(field, domain=domain, collocation=50)
    figure = sn.plot_tangent_kernel({"one": kernel}, num=2, path=tmp_path / "k.png")
    # Maps have a colour bar beside them.
    assert len(figure.axes) == panels
