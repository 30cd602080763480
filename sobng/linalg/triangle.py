"""One triangle for each step, and no spectrum: for problems that are nearly linear."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.linalg.blocked import solve_triangular
from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.spectrum import AbstractModel, Damping
from sobng.precision import matmul


WIDE = 2000
"""Parameters from which on the triangle comes from the normal equations (measured)."""


class NewtonModel(AbstractModel):
    """The model with damping measured in its own curvature, which only shortens a step.

    With the triangle $T$ of $B$ and $h = T^{-T} g$ the step is $-T^{-1} h / (1 + \\mu)$.
    """

    triangle: Float[Array, "params params"]
    half: Float[Array, " params"]
    full: Float[Array, " params"]
    gradient: Float[Array, " params"]

    @property
    def curvature(self):
        return jnp.ones((1,), self.half.dtype)

    @property
    def slope(self):
        return jnp.linalg.norm(self.half)[None]

    def step(self, damping: Damping):
        return self.full / (1 + damping)

    def length(self, damping: Damping):
        return self.slope[0] / (1 + damping)

    def decrease(self, damping: Damping):
        share = (1 + 2 * damping) / (2 * (1 + damping) ** 2)
        return jnp.sum(self.half**2) * share

    def explained(self):
        return jnp.sum(self.half**2)

    def correction(self, gradient, damping: Damping):
        half = solve_triangular(self.triangle.T, gradient, lower=True)
        return -solve_triangular(self.triangle, half) / (1 + damping)


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
        full = -solve_triangular(triangle, half)
        return NewtonModel(triangle, half, full, matmul(matrix.T, residual))

    def quadratic(self, curvature, gradient):
        factor = curvature.factor()
        return _by_cholesky(matmul(factor.T, factor), gradient)


def _by_cholesky(square, gradient) -> NewtonModel:
    eps = jnp.finfo(square.dtype).eps
    # The rounding of the sums, below which the matrix need not be positive.
    low = _positive(eps * jnp.trace(square))
    eye = jnp.eye(square.shape[0], dtype=square.dtype)
    triangle = jnp.linalg.cholesky(square + low * eye, upper=True)
    half = solve_triangular(triangle.T, gradient, lower=True)
    return NewtonModel(triangle, half, -solve_triangular(triangle, half), gradient)


def _positive(value):
    return jnp.where(value > 0, value, 1)
