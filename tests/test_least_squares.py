"""The linear algebra of a step against dense references."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg

import sobng as sn
from sobng.linalg.blocked import add_gram, gram, solve_triangular, triangle_gram
from sobng.linalg.factorisation import LinearMap, QuadraticForm
from sobng.linalg.spectrum import least_squares_spectrum, quadratic_spectrum
from sobng.linalg.tridiagonal import Mixing, Tridiagonal
from sobng.search.radius import damping_of


def stacked(jacobian, residual, damping, metric):
    """The damped step by NumPy's least squares on the stacked matrix."""
    root = np.linalg.cholesky(np.asarray(metric)).T
    matrix = np.concatenate([jacobian, np.sqrt(damping) * root])
    target = np.concatenate([residual, np.zeros(len(root))])
    return -np.linalg.lstsq(matrix, target, rcond=None)[0]


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (9, 9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_damped_step_agrees_with_numpys_least_squares(getkey, shape, weighted):
    rows, params = shape
    jacobian = jr.normal(getkey(), shape)
    residual = jr.normal(getkey(), (rows,))
    factor = jr.normal(getkey(), (12, params)) if weighted else None
    metric = np.eye(params)
    if weighted:
        gram = np.asarray(factor.T @ factor)
        metric = gram + 0.1 * np.trace(gram) / params * np.eye(params)
    model = least_squares_spectrum(jacobian, residual, factor)
    for damping in (1e-3, 1.0):
        wanted = stacked(jacobian, residual, damping, metric)
        # Condition numbers below 1e3: rounding, and room to spare.
        assert np.allclose(model.step(damping), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lower", [True, False])
def test_a_triangular_solve_by_halves_is_that_of_scipy(getkey, lower):
    # 300 rows are halved twice, to unequal parts.
    square = jr.normal(getkey(), (301, 301)) / 30 + 2 * jnp.eye(301)
    triangle = jnp.tril(square) if lower else jnp.triu(square)
    rhs = jr.normal(getkey(), (301, 5))
    wanted = scipy.linalg.solve_triangular(triangle, rhs, lower=lower)
    assert np.allclose(solve_triangular(triangle, rhs, lower=lower), wanted)


def test_a_gram_matrix_by_halves_is_the_product(getkey):
    factor = jr.normal(getkey(), (7, 601))
    assert np.allclose(gram(factor), factor.T @ factor, rtol=1e-12, atol=1e-12)


def test_few_rows_of_a_factor_give_the_step_of_their_pseudo_inverse(getkey):
    # Nurbekyan, Lei, Yang keep the largest rows of R: -(R^T R)^+ g with fewer rows than
    # parameters. The rest of the gradient has no curvature, and is kept apart.
    rows, gradient = jr.normal(getkey(), (4, 9)), jr.normal(getkey(), (9,))
    model = quadratic_spectrum(rows, gradient)
    damping = 1e-9
    step = model.step(damping) + model.remainder / damping
    wanted = -jnp.linalg.pinv(rows.T @ rows) @ gradient
    assert np.allclose(step, wanted, rtol=1e-6, atol=1e-7)


def test_the_predicted_decrease_is_that_of_the_model(getkey):
    jacobian, residual = jr.normal(getkey(), (20, 6)), jr.normal(getkey(), (20,))
    model = least_squares_spectrum(jacobian, residual)
    for damping in (1e-6, 0.1, 10.0):
        after = residual + jacobian @ model.step(damping)
        decrease = 0.5 * (jnp.sum(residual**2) - jnp.sum(after**2))
        assert jnp.allclose(model.decrease(damping), decrease, rtol=1e-10)


def test_primal_and_dual_forms_agree(getkey):
    wide = jr.normal(getkey(), (7, 25))
    residual = jr.normal(getkey(), (7,))
    tall = jnp.concatenate([wide, jnp.zeros((30, 25))])
    padded = jnp.concatenate([residual, jnp.zeros(30)])
    dual, primal = (
        least_squares_spectrum(wide, residual),
        least_squares_spectrum(tall, padded),
    )
    assert jnp.allclose(dual.step(1e-2), primal.step(1e-2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [20, 4])
def test_a_natural_gradient_step_solves_the_damped_gram_system(getkey, rows):
    factor, gradient = jr.normal(getkey(), (rows, 9)), jr.normal(getkey(), (9,))
    model = quadratic_spectrum(factor, gradient)
    wanted = -jnp.linalg.solve(factor.T @ factor + 0.3 * jnp.eye(9), gradient)
    assert jnp.allclose(model.step(0.3), wanted, rtol=1e-9)


def test_the_undamped_step_keeps_twice_the_digits_of_normal_equations(getkey):
    # Singular values from 1 to 1e-7: the normal equations have condition 1e14.
    left, _ = jnp.linalg.qr(jr.normal(getkey(), (40, 8)))
    right, _ = jnp.linalg.qr(jr.normal(getkey(), (8, 8)))
    singular = jnp.logspace(0, -7, 8)
    jacobian = (left * singular[None]) @ right.T
    wanted = jr.normal(getkey(), (8,))
    step = least_squares_spectrum(jacobian, -jacobian @ wanted).step(1e-30)
    assert jnp.linalg.norm(step - wanted) < 1e-7 * jnp.linalg.norm(wanted)


def test_the_damping_of_a_radius_gives_a_step_of_that_length(getkey):
    jacobian, residual = jr.normal(getkey(), (20, 6)), jr.normal(getkey(), (20,))
    model = least_squares_spectrum(jacobian, residual)
    full = model.length(jnp.asarray(1e-30))
    for part in (0.9, 0.1, 1e-3):
        radius = part * full
        found = model.length(damping_of(model, radius))
        assert jnp.allclose(found, radius, rtol=1e-6)


def test_many_dampings_come_from_one_factorisation(getkey):
    jacobian, residual = jr.normal(getkey(), (20, 6)), jr.normal(getkey(), (20,))
    model = least_squares_spectrum(jacobian, residual)
    steps = jax.vmap(model.step)(jnp.logspace(-3, 3, 7))
    assert jnp.all(jnp.diff(jnp.linalg.norm(steps, axis=1)) < 0)


def linear_map(matrix):
    return LinearMap(
        matrix.shape[1],
        lambda: matrix,
        lambda r: (matrix.T @ matrix, matrix.T @ r),
        lambda v: matrix @ v,
        lambda r: matrix.T @ r,
        lambda: matrix @ matrix.T,
    )


@pytest.mark.parametrize("wide", [5, 6], ids=["normal equations", "qr"])
def test_a_triangle_gives_the_undamped_step_and_its_decrease(getkey, wide):
    jacobian, residual = jr.normal(getkey(), (20, 6)), jr.normal(getkey(), (20,))
    model = sn.Triangle(wide=wide).least_squares(
        linear_map(jacobian), residual, None, 0.1
    )
    wanted = least_squares_spectrum(jacobian, residual)
    assert jnp.allclose(model.step(0.0), wanted.step(0.0), rtol=1e-10)
    assert jnp.allclose(model.explained(), wanted.explained(), rtol=1e-10)
    for damping in (0.0, 0.3, 10.0):
        after = residual + jacobian @ model.step(damping)
        decrease = 0.5 * (jnp.sum(residual**2) - jnp.sum(after**2))
        assert jnp.allclose(model.decrease(damping), decrease, rtol=1e-10)
    other = jr.normal(getkey(), (6,))
    again = wanted.correction(other, 0.0)
    assert jnp.allclose(model.correction(other, 0.0), again, rtol=1e-8)


def test_a_triangle_of_dependent_columns_still_solves(getkey):
    column = jr.normal(getkey(), (20, 3))
    jacobian = jnp.concatenate([column, column], axis=1)
    residual = -column @ jnp.ones(3)
    for wide in (1, 100):
        model = sn.Triangle(wide=wide).least_squares(
            linear_map(jacobian), residual, None, 0.1
        )
        left = residual + jacobian @ model.step(0.0)
        assert jnp.linalg.norm(left) < 1e-7 * jnp.linalg.norm(residual)


def test_a_triangle_takes_no_metric(getkey):
    form = QuadraticForm(lambda: jnp.eye(2), lambda v: v)
    with pytest.raises(ValueError, match="takes no metric"):
        sn.Triangle().least_squares(linear_map(jnp.eye(2)), jnp.ones(2), form, 0.1)


def test_halves_sum_up_the_lower_triangle_of_a_gram_matrix(getkey):
    factor, total = jr.normal(getkey(), (9, 21)), jr.normal(getkey(), (21, 21))
    wanted = jnp.tril(total + factor.T @ factor)
    assert jnp.allclose(jnp.tril(add_gram(total, factor)), wanted, atol=1e-13)


def ill_conditioned(key, shape, smallest=1e-12):
    """A matrix with singular values from 1 downwards, and a target with a part that no
    column reaches."""
    rows, params = shape
    keys = jr.split(key, 4)
    rank = min(shape)
    left, _ = jnp.linalg.qr(jr.normal(keys[0], (rows, rank)))
    right, _ = jnp.linalg.qr(jr.normal(keys[1], (params, rank)))
    singular = smallest ** (jnp.arange(rank) / (rank - 1))
    matrix = (left * singular[None]) @ right.T
    return matrix, matrix @ jr.normal(keys[2], (params,)) + 1e-6 * jr.normal(
        keys[3], (rows,)
    )


def backward_error(matrix, residual, metric, damping, step):
    """By how much the equations of a damped step are missed, in extended precision, as a
    part of the numbers that they are the sums of."""
    wide = lambda a: np.asarray(a).astype(np.longdouble)
    after = wide(residual) + wide(matrix) @ wide(step)
    slope = wide(matrix).T @ after + damping * (wide(metric) @ wide(step))
    scale = np.linalg.norm(np.asarray(after, float)) + np.linalg.norm(step)
    return float(np.sqrt(np.sum(slope**2))) / scale


@pytest.mark.parametrize(
    "shape, weighted", [((150, 61), False), ((150, 61), True), ((40, 90), True)]
)
def test_a_tridiagonal_model_is_as_accurate_as_singular_vectors(
    getkey, shape, weighted
):
    matrix, residual = ill_conditioned(getkey(), shape)
    params = shape[1]
    factor = jr.normal(getkey(), (120, params)) if weighted else None
    metric = np.eye(params)
    if weighted:
        square = np.asarray(factor.T @ factor)
        metric = square + 0.1 * np.trace(square) / params * np.eye(params)
    dampings = 10.0 ** -np.arange(4, 32, 4)

    @jax.jit
    def figures(*given):
        models = Tridiagonal(*given), least_squares_spectrum(*given)
        ask = lambda m, d: (m.step(d), m.length(d), m.decrease(d))
        return [jax.vmap(lambda d, m=m: ask(m, d))(dampings) for m in models]

    ours, svd = figures(matrix, residual, factor)
    for i, damping in enumerate(dampings):
        errors = [
            backward_error(matrix, residual, metric, damping, steps[i])
            for steps, _, _ in (ours, svd)
        ]
        assert errors[0] < 10 * max(errors[1], 2e-16)
    # Below a damping of 1e-26 lengths are a matter of rounding.
    assert np.allclose(ours[1][:-1], svd[1][:-1], rtol=1e-4)
    assert np.allclose(ours[2], svd[2], rtol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 30])
def test_mixing_is_orthogonal(getkey, size):
    mixing = Mixing(size, jnp.float64)
    mixed = mixing(jnp.eye(size))
    vector = jr.normal(getkey(), (size,))
    assert np.allclose(mixed @ mixed.T, np.eye(size), atol=1e-14)
    assert np.allclose(mixing.transposed(vector @ mixed), vector, atol=1e-14)


def test_a_tridiagonal_model_has_the_correction_and_the_explained_part(getkey):
    matrix, residual = ill_conditioned(getkey(), (60, 20), 1e-5)
    gradient = matrix.T @ jr.normal(getkey(), (60,))

    @jax.jit
    def figures(matrix, residual):
        models = Tridiagonal(matrix, residual), least_squares_spectrum(matrix, residual)
        return [(m.correction(gradient, 1e-8), m.explained()) for m in models]

    ours, svd = figures(matrix, residual)
    assert np.allclose(ours[0], svd[0], rtol=1e-6)
    assert np.allclose(ours[1], svd[1], rtol=1e-9)


def test_a_tridiagonal_model_of_nothing_takes_no_step():
    step = jax.jit(lambda *a: Tridiagonal(*a).step(1e-300))
    assert jnp.all(step(jnp.zeros((6, 4)), jnp.ones(6)) == 0)


def test_half_a_product_of_a_triangle_is_right_below_its_diagonal(getkey):
    triangle = jnp.triu(jr.normal(getkey(), (301, 310)))
    found = triangle_gram(triangle)
    assert np.allclose(jnp.tril(found), jnp.tril(triangle @ triangle.T), atol=1e-11)


def test_a_wide_dense_model_is_tridiagonal(getkey):
    jacobian, residual = jr.normal(getkey(), (20, 6)), jr.normal(getkey(), (20,))

    def model(wide):
        return jax.eval_shape(
            lambda: sn.Dense(wide=wide).least_squares(
                linear_map(jacobian), residual, None, 0.1
            )
        )

    assert isinstance(model(6), Tridiagonal)
    assert not isinstance(model(7), Tridiagonal)
