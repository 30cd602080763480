"""Models in a Krylov space, from products with the matrices alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.spectrum import Spectrum
from sobng.precision import matmul


PROBES = 8
"""Random vectors that estimate the mean eigenvalue of a metric."""


class Krylov(AbstractFactorisation):
    r"""The model restricted to the Krylov space of the gradient, without any matrix.

    Golub-Kahan bidiagonalisation of $J$ (for [`sobng.NaturalGradient`][] Lanczos of $G$)
    with full reorthogonalisation; its small matrix is diagonalised, so that all dampings
    of a step share the products. A step costs `num` products with $J$ and $J^T$ and
    `num * (rows + params)` numbers of memory. Exact once `num` reaches the number of
    different singular values; before that, the ill-conditioned directions are missing,
    and with them the last digits.

    A metric that measures the damping is inverted by conjugate gradients, `inner` products
    with it at most for each of the `num`.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Krylov(num=50))
        ```

    ??? cite "Reference"

        Paige, Saunders: LSQR, ACM Trans. Math. Softw. 8 (1982). The generalised inner
        product follows Arioli: SIAM J. Matrix Anal. Appl. 34 (2013).
    """

    num: int = eqx.field(static=True)
    inner: int = eqx.field(static=True)

    def __init__(self, num: int = 100, *, inner: int = 100):
        """**Arguments:**

        - `num`: the dimension of the space.
        - `inner`: products with the metric for one application of its inverse.

        **Raises:** `ValueError` if a number is below one.
        """
        if num < 1 or inner < 1:
            raise ValueError(
                f"`Krylov` needs at least one product. Got num={num}, inner={inner}."
            )
        self.num = num
        self.inner = inner

    def least_squares(self, jacobian, residual, damping, relative):
        gradient = jacobian.transposed(residual)
        size, rows = gradient.size, residual.size
        product, inverse = _metric(damping, gradient, relative, self.inner)
        num = min(self.num, size, rows)
        left = jnp.zeros((num + 1, rows), residual.dtype)
        # Each right vector beside its product with the metric.
        right = jnp.zeros((num, size), residual.dtype)
        dual = jnp.zeros_like(right)
        small = jnp.zeros((num + 1, num), residual.dtype)
        start = jnp.linalg.norm(residual)
        left = left.at[0].set(_over(residual, start))

        def body(i, carry):
            left, right, dual, small = carry
            pulled = jacobian.transposed(left[i])
            vector = inverse(pulled)
            # Twice, for once leaves what cancellation spoiled.
            for _ in range(2):
                vector = vector - matmul(right.T, matmul(dual, vector))
            image = product(vector)
            alpha = jnp.sqrt(jnp.maximum(vector @ image, 0))
            vector, image = _over(vector, alpha), _over(image, alpha)
            right, dual = right.at[i].set(vector), dual.at[i].set(image)
            unit, column = _orthonormalised(jacobian.forward(vector), left, i + 1)
            left = left.at[i + 1].set(unit)
            return left, right, dual, small.at[:, i].set(column)

        left, right, dual, small = jax.lax.fori_loop(
            0, num, body, (left, right, dual, small)
        )
        outer, singular, turn = jnp.linalg.svd(small, full_matrices=False)
        slope = singular * outer[0] * start
        basis = matmul(right.T, turn.T)
        return Spectrum(basis, singular**2, slope, gradient)

    def quadratic(self, curvature, gradient):
        num = min(self.num, gradient.size)
        length = jnp.linalg.norm(gradient)
        basis = jnp.zeros((num + 1, gradient.size), gradient.dtype)
        basis = basis.at[0].set(_over(gradient, length))
        small = jnp.zeros((num + 1, num), gradient.dtype)

        def body(i, carry):
            basis, small = carry
            image = curvature.product(basis[i])
            unit, column = _orthonormalised(image, basis, i + 1)
            return basis.at[i + 1].set(unit), small.at[:, i].set(column)

        basis, small = jax.lax.fori_loop(0, num, body, (basis, small))
        square = small[:num]
        values, vectors = jnp.linalg.eigh(0.5 * (square + square.T))
        slope = length * vectors[0]
        basis = matmul(basis[:num].T, vectors)
        return Spectrum(basis, jnp.maximum(values, 0), slope, gradient)


def _over(vector, length):
    """`vector / length`, zero if the space is exhausted and nothing is left."""
    return jnp.where(length > 0, vector / jnp.where(length > 0, length, 1), 0)


def _orthonormalised(vector, basis, index):
    """The part of a vector outside the rows of a basis, as the next row of it; and the
    vector's coefficients in all of them. Zero where only rounding is left."""
    coefficients = jnp.zeros(basis.shape[0], basis.dtype)
    rest = vector
    for _ in range(2):
        change = matmul(basis, rest)
        coefficients = coefficients + change
        rest = rest - matmul(basis.T, change)
    length = jnp.linalg.norm(rest)
    tiny = 100 * jnp.finfo(basis.dtype).eps * jnp.linalg.norm(vector)
    length = jnp.where(length > tiny, length, 0)
    return _over(rest, length), coefficients.at[index].set(length)


def _metric(damping, like, relative, inner):
    """Products with the damping's metric $G + \\epsilon I$ and with its inverse."""
    if damping is None:
        return lambda v: v, lambda v: v
    probes = jr.normal(jr.key(0), (PROBES, like.size), like.dtype)
    traces = jnp.sum(probes * jax.lax.map(damping.product, probes), axis=1)
    eps = relative * jnp.mean(traces) / like.size
    eps = jnp.where(eps > 0, eps, 1)

    def product(vector):
        return damping.product(vector) + eps * vector

    def inverse(vector):
        tol = float(jnp.finfo(like.dtype).eps)
        return jax.scipy.sparse.linalg.cg(product, vector, tol=tol, maxiter=inner)[0]

    return product, inverse
