"""Orthogonal factorisations of whole matrices."""

import equinox as eqx
import jax

from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.spectrum import least_squares_spectrum, quadratic_spectrum
from sobng.linalg.tridiagonal import Tridiagonal


def where_vectors_cost_more() -> int:
    """The smaller side of a Jacobian from which on singular vectors do not pay (measured).

    On an H100 a triangle of 257 takes 16 ms with them, and 3 without.
    """
    return 600 if jax.default_backend() == "cpu" else 100


class Dense(AbstractFactorisation):
    """QR, then an SVD of the triangle or, of a large one, a tridiagonal matrix: all
    directions, to rounding.

    Primal when there are at least as many rows as parameters, else dual. Holds the
    Jacobian in memory: `rows * params` numbers, and a few copies.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Dense())
        ```
    """

    wide: int | None = eqx.field(static=True)

    def __init__(self, *, wide: int | None = None):
        """**Arguments:**

        - `wide`: the smaller side of a Jacobian from which on a tridiagonal matrix takes the
            place of the singular vectors; by default 600 on a CPU and 100 elsewhere.
        """
        self.wide = wide

    def least_squares(self, jacobian, residual, damping, relative):
        factor = None if damping is None else damping.factor()
        matrix = jacobian.dense()
        wide = where_vectors_cost_more() if self.wide is None else self.wide
        if min(matrix.shape) < wide:
            return least_squares_spectrum(matrix, residual, factor, relative)
        return Tridiagonal(matrix, residual, factor, relative)

    def quadratic(self, curvature, gradient):
        return quadratic_spectrum(curvature.factor(), gradient)
