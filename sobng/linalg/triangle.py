"""One triangle for each step, and no spectrum: for problems that are nearly linear."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.spectrum import AbstractModel
from sobng.precision import matmul


WIDE = 2000
"""Parameters from which on the triangle comes from the normal equations (measured)."""


class NewtonModel(AbstractModel):
    r"""The model with damping measured in its own curvature, which only shortens a step.

    With $B = L L^T$ and $h = L^{-1} g$ the step is $-L^{-T} h / (1 + \mu)$.
    """

    lower: Float[Array, "params params"]
    half: Float[Array, " params"]
    full: Float[Array, " params"]
    gradient: Float[Array, " params"]
    curvature: Float[Array, " 1"]
    slope: Float[Array, " 1"]

    def __init__(self, lower, half, gradient):
        self.lower = lower
        self.half = half
        self.full = -_solve(lower, half, trans=1)
        self.gradient = gradient
        self.curvature = jnp.ones((1,), half.dtype)
        self.slope = jnp.linalg.norm(half)[None]

    def step(self, damping):
        return self.full / (1 + damping)

    def length(self, damping):
        return self.slope[0] / (1 + damping)

    def decrease(self, damping):
        share = (1 + 2 * damping) / (2 * (1 + damping) ** 2)
        return jnp.sum(self.half**2) * share

    def explained(self):
        return jnp.sum(self.half**2)

    def correction(self, gradient, damping):
        half = _solve(self.lower, gradient)
        return -_solve(self.lower, half, trans=1) / (1 + damping)


def _solve(lower, rhs, trans=0):
    return solve_triangular(lower, rhs, trans=trans, lower=True)


class Triangle(AbstractFactorisation):
    r"""A triangle of $J$ with a trace of damping, without a spectrum.

    A step costs a fifth of that of [`sobng.Dense`][] or less, and damping only shortens
    it: for problems that are linear or nearly so, such as those for a last layer. By a
    QR reduction up to 2,000 parameters; beyond by the normal equations, summed up over
    the points without the Jacobian in memory, and then each step has half the digits.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Triangle())
        ```
    """

    wide: int = eqx.field(static=True)

    def __init__(self, *, wide: int = WIDE):
        """**Arguments:**

        - `wide`: parameters from which on the normal equations are formed.
        """
        self.wide = wide

    def least_squares(self, jacobian, residual, damping, relative):
        del relative
        if damping is not None:
            raise ValueError(
                "`Triangle` measures damping by the model itself and takes no metric. Use "
                "`sobng.Dense()`, or leave the metric out."
            )
        if jacobian.params > self.wide:
            square, gradient = jacobian.normal(residual)
            return _by_cholesky(square, gradient)
        matrix = jacobian.dense()
        params = matrix.shape[1]
        eps = jnp.finfo(matrix.dtype).eps
        # The least damping that Dense would use: below it there is nothing but rounding.
        low = _positive(eps * jnp.linalg.norm(matrix) / params**0.5)
        eye = low * jnp.eye(params, dtype=matrix.dtype)
        tail = jnp.zeros((params,), matrix.dtype)
        stacked = jnp.concatenate([matrix, eye])
        target = jnp.concatenate([residual, tail])
        reduced = jnp.linalg.qr(
            jnp.concatenate([stacked, target[:, None]], axis=1), mode="r"
        )[:params]
        triangle, half = reduced[:, :params], reduced[:, params]
        return NewtonModel(triangle.T, half, matmul(matrix.T, residual))

    def quadratic(self, curvature, gradient):
        factor = curvature.factor()
        return _by_cholesky(matmul(factor.T, factor), gradient)


def _by_cholesky(square, gradient) -> NewtonModel:
    # The rounding of the sums, below which the matrix need not be positive. Not many
    # copies of a matrix of gigabytes: no identity, no transposes.
    low = _positive(jnp.finfo(square.dtype).eps * jnp.trace(square))
    index = jnp.arange(square.shape[0])
    square = square.at[index, index].add(low)
    lower = jax.lax.linalg.cholesky(square, symmetrize_input=False)
    return NewtonModel(lower, _solve(lower, gradient), gradient)


def _positive(value):
    return jnp.where(value > 0, value, 1)
