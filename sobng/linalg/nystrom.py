"""Damped least squares by an iteration that a randomised sketch of the Jacobian speeds up."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
from jaxtyping import Array, Float

from sobng.linalg.factorisation import AbstractFactorisation, LinearMap
from sobng.linalg.krylov import Krylov
from sobng.linalg.spectrum import AbstractModel, Spectrum
from sobng.precision import matmul


RANK = 500
"""Directions of a sketch: each costs a tenth of a product by itself or less (measured)."""


class NystromModel(AbstractModel):
    r"""$J \approx Q S V^T$ says which damping; the step is solved for with $J$ itself.

    With $d = P^{-1/2} y$ and $P = V (S^2 + \mu) V^T + (s_k^2 + \mu) (I - V V^T)$ up to a
    factor, LSMR on $J$ over $\sqrt\mu I$ needs few iterations for every damping $\mu$.
    """

    spectrum: Spectrum
    curvature: Float[Array, " rank"]
    slope: Float[Array, " rank"]
    gradient: Float[Array, " params"]
    jacobian: LinearMap
    residual: Float[Array, " rows"]
    steps: int = eqx.field(static=True)

    def __init__(self, spectrum, jacobian, residual, steps):
        self.spectrum = spectrum
        self.curvature = spectrum.curvature
        self.slope = spectrum.slope
        self.gradient = spectrum.gradient
        self.jacobian = jacobian
        self.residual = residual
        self.steps = steps

    def step(self, damping):
        return self._solved(-self.residual, jnp.zeros_like(self.gradient), damping)

    def length(self, damping):
        return self.spectrum.length(damping)

    def decrease(self, damping):
        return self.spectrum.decrease(damping)

    def explained(self):
        return self.spectrum.explained()

    def correction(self, gradient, damping):
        below = -gradient / jnp.sqrt(damping)
        return self._solved(jnp.zeros_like(self.residual), below, damping)

    def _solved(self, above, below, damping):
        """The least-squares solution of $J d = $ `above`, $\\sqrt\\mu d = $ `below`."""
        basis: Any = self.spectrum.basis
        curvature = self.curvature
        tiny = jnp.finfo(above.dtype).tiny
        least = jnp.min(curvature) + damping + tiny
        scale = jnp.sqrt(least / (curvature + damping + tiny)) - 1
        root = jnp.sqrt(damping)

        def conditioned(vector):
            return vector + matmul(basis, scale * matmul(basis.T, vector))

        def stacked(vector):
            vector = conditioned(vector)
            return self.jacobian.forward(vector), root * vector

        like = jax.ShapeDtypeStruct(below.shape, below.dtype)
        operator = lx.FunctionLinearOperator(stacked, like)
        eps = float(jnp.finfo(below.dtype).eps)
        solver = lx.LSMR(eps, eps, max_steps=self.steps, conlim=math.inf)
        found = lx.linear_solve(operator, (above, below), solver, throw=False)
        return conditioned(found.value)


class Nystrom(AbstractFactorisation):
    r"""A sketch of `rank` directions, and with it an iteration for each damping.

    For more rows and parameters than `rows**2` numbers have room for. The sketch is the
    randomised Nyström approximation of $J^T J$, but by its factors, so that nothing is
    squared: a frame $Q$ of the range of $J \Omega$ with random columns $\Omega$, and the
    singular vectors of $J$ in the span of $J^T Q$. Its products take the rows of $J$ a few
    points at a time, for all columns together. It chooses the damping and preconditions
    LSMR, which finds the step: `steps` products with $J$ and $J^T$ at most for each trial.
    Exact up to rounding for dampings above the `rank`-th curvature; below, digits are lost
    by and by, where [`sobng.Krylov`][] of as many products has none left. Damping is
    Euclidean.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(factorisation=sn.Nystrom(200))
        ```

    ??? cite "Reference"

        Frangella, Tropp, Udell: Randomized Nyström preconditioning (SIAM J. Matrix Anal.
        Appl. 2023, arXiv 2110.02820), Algorithms 2.1 and 5.1. We differ in: factors in the
        place of a shifted Cholesky factorisation; LSMR, which keeps the digits that
        conjugate gradients on the normal equations lose; one sketch for all dampings.
    """

    rank: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(self, rank: int = RANK, *, steps: int = 50):
        """**Arguments:**

        - `rank`: the directions of the sketch.
        - `steps`: the most iterations for one damping.

        **Raises:** `ValueError` if a number is below one.
        """
        if rank < 1 or steps < 1:
            raise ValueError(
                "`Nystrom` needs at least one direction and one step. Got "
                f"rank={rank}, steps={steps}."
            )
        self.rank = rank
        self.steps = steps

    def least_squares(self, jacobian, residual, damping, relative):
        del relative
        if damping is not None:
            raise ValueError(
                "`Nystrom` measures the damping in the Euclidean metric, and got another. "
                "Use `sobng.Krylov()` with a metric, or no metric."
            )
        gradient = jacobian.transposed(residual)
        rank = min(self.rank, residual.size, gradient.size)
        mixed = jr.normal(jr.key(0), (gradient.size, rank), residual.dtype)
        frame, _ = jnp.linalg.qr(jacobian.products(mixed))
        basis, _ = jnp.linalg.qr(jacobian.transposed_products(frame))
        # The model within the span of the basis: what it promises, a step can keep.
        small = jnp.linalg.qr(jacobian.products(basis), mode="r")
        _, singular, turn = jnp.linalg.svd(small)
        basis = matmul(basis, turn.T)
        slope = matmul(basis.T, gradient)
        spectrum = Spectrum(basis, singular**2, slope, gradient)
        return NystromModel(spectrum, jacobian, residual, self.steps)

    def quadratic(self, curvature, gradient):
        # A general curvature has no rows.
        return Krylov().quadratic(curvature, gradient)
