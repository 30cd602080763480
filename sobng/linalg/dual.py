"""The dual form by the Gram matrix of the rows."""

import jax.numpy as jnp

from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.krylov import Krylov
from sobng.linalg.spectrum import RowBasis, Spectrum
from sobng.precision import matmul


class Dual(AbstractFactorisation):
    r"""Eigenvalues of $J J^T$: for more parameters than a Jacobian of them fits in memory.

    A bound [`sobng.GaussNewton`][] assembles $J J^T$ without $J$, from the inputs of the
    dense layers and the cotangents of their outputs; a step is then one reverse sweep.
    Memory holds `rows**2` numbers and a few thousand for each row, whatever the number
    of parameters.

    A product of matrices squares the condition number: directions whose singular value is
    below the root of `rows` units in the last place of the largest (1e-6 in float64) are
    left out. Damping is Euclidean.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Dual())
        ```

    ??? cite "Reference"

        Guzmán-Cordero, Dangel, Goldshlager, Zeinhofer: Improving energy natural gradient
        descent through Woodbury, momentum, and randomization (NeurIPS 2025, arXiv
        2505.12149). We differ in: all dampings of a step by one eigendecomposition, and
        rows of any differential operator.
    """

    def least_squares(self, jacobian, residual, damping, relative):
        if damping is not None:
            raise ValueError(
                "`Dual` measures the damping in the Euclidean metric, and got another. "
                "Use `sobng.Krylov()` with a metric, or no metric."
            )
        values, frame = jnp.linalg.eigh(jacobian.gram())
        noise = residual.size * jnp.finfo(values.dtype).eps * values[-1]
        kept = values > noise
        values = jnp.where(kept, values, 0)
        roots = jnp.sqrt(values)
        inverse = jnp.where(kept, 1 / jnp.where(kept, roots, 1), 0)
        basis = RowBasis(frame, inverse, jacobian.forward, jacobian.transposed)
        slope = roots * matmul(frame.T, residual)
        return Spectrum(
            basis=basis,
            curvature=values,
            slope=slope,
            gradient=jacobian.transposed(residual),
        )

    def quadratic(self, curvature, gradient):
        # A general curvature has no rows.
        return Krylov().quadratic(curvature, gradient)
