"""Orthogonal factorisations of whole matrices."""

from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.spectrum import least_squares_spectrum, quadratic_spectrum


class Dense(AbstractFactorisation):
    """QR, then an SVD of the triangle: all directions, to rounding.

    Primal when there are at least as many rows as parameters, else dual. Holds the
    Jacobian in memory: `rows * params` numbers, and a few copies.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Dense())
        ```
    """

    def least_squares(self, jacobian, residual, damping, relative):
        factor = None if damping is None else damping.factor()
        return least_squares_spectrum(jacobian.dense(), residual, factor, relative)

    def quadratic(self, curvature, gradient):
        return quadratic_spectrum(curvature.factor(), gradient)
