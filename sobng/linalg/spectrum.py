"""Damped quadratic models, diagonalised once and then solved for any damping."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from equinox import AbstractVar
from jaxtyping import Array, Float

from sobng.linalg.blocked import gram, solve_triangular
from sobng.precision import matmul


Damping = float | Float[Array, ""]


class RowBasis(eqx.Module):
    """The right singular vectors $V = J^T U c^{-1/2}$, by products with $J$ alone."""

    frame: Float[Array, "rows rank"]
    """$U$: the left ones."""
    inverse: Float[Array, " rank"]
    """The inverse singular values, zero where only rounding is left."""
    forward: Callable[[Float[Array, " params"]], Float[Array, " rows"]]
    transposed: Callable[[Float[Array, " rows"]], Float[Array, " params"]]

    def combined(self, coefficients: Float[Array, " rank"]) -> Float[Array, " params"]:
        """$V c$."""
        return self.transposed(matmul(self.frame, self.inverse * coefficients))

    def components(self, vector: Float[Array, " params"]) -> Float[Array, " rank"]:
        """$V^T v$."""
        return self.inverse * matmul(self.frame.T, self.forward(vector))


class AbstractModel(eqx.Module):
    """A quadratic model of one step that can be minimised for any damping."""

    curvature: AbstractVar[Float[Array, " rank"]]
    slope: AbstractVar[Float[Array, " rank"]]
    gradient: AbstractVar[Float[Array, " params"]]

    @abc.abstractmethod
    def step(self, damping: Damping) -> Float[Array, " params"]:
        """The minimiser of the damped model."""

    @abc.abstractmethod
    def length(self, damping: Damping) -> Float[Array, ""]:
        """The length of `step(damping)` in the metric."""

    @abc.abstractmethod
    def decrease(self, damping: Damping) -> Float[Array, ""]:
        """By how much `step(damping)` lowers the undamped model."""

    @abc.abstractmethod
    def explained(self) -> Float[Array, ""]:
        """The squared norm of the projection of the residual onto the range of its
        Jacobian: twice what the undamped model would take off the loss."""

    @abc.abstractmethod
    def correction(
        self, gradient: Float[Array, " params"], damping: Damping
    ) -> Float[Array, " params"]:
        """The step for another gradient with the same curvature."""


class Spectrum(AbstractModel):
    r"""The model $g\cdot d + \tfrac12 d^T B d$, with damping measured in a metric $M$.

    The columns of `basis` diagonalise both forms, $V^T B V = \mathrm{diag}(c)$ and
    $V^T M V = I$, so that the damped minimiser
    $d(\mu) = -V\,(c + \mu)^{-1} V^T g$ costs one product for each damping $\mu$.
    """

    basis: Float[Array, "params rank"] | RowBasis
    curvature: Float[Array, " rank"]
    slope: Float[Array, " rank"]
    gradient: Float[Array, " params"]
    remainder: Float[Array, " params"] | None = None
    """The part of the gradient outside the basis, where the model has no curvature."""

    def step(self, damping: Damping) -> Float[Array, " params"]:
        step = -self._combined(self.slope / (self.curvature + damping))
        if self.remainder is None:
            return step
        return step - self.remainder / damping

    def length(self, damping: Damping) -> Float[Array, ""]:
        squares = jnp.sum((self.slope / (self.curvature + damping)) ** 2)
        if self.remainder is not None:
            squares = squares + jnp.sum(self.remainder**2) / damping**2
        return jnp.sqrt(squares)

    def decrease(self, damping: Damping) -> Float[Array, ""]:
        # s^2/(c + mu) - c s^2/(2 (c + mu)^2): both terms positive, no cancellation.
        damped = self.curvature + damping
        share = (self.curvature + 2 * damping) / (2 * damped)
        decrease = jnp.sum(self.slope**2 / damped * share)
        if self.remainder is not None:
            decrease = decrease + jnp.sum(self.remainder**2) / damping
        return decrease

    def explained(self) -> Float[Array, ""]:
        tiny = self.gradient.size * jnp.finfo(self.slope.dtype).eps
        seen = self.curvature > tiny**2 * jnp.max(self.curvature)
        return jnp.sum(jnp.where(seen, self.slope**2 / self.curvature, 0))

    def correction(
        self, gradient: Float[Array, " params"], damping: Damping
    ) -> Float[Array, " params"]:
        if isinstance(self.basis, RowBasis):
            slope = self.basis.components(gradient)
        else:
            slope = matmul(self.basis.T, gradient)
        return -self._combined(slope / (self.curvature + damping))

    def _combined(self, coefficients):
        if isinstance(self.basis, RowBasis):
            return self.basis.combined(coefficients)
        return matmul(self.basis, coefficients)


TAME = 1e-4
"""The least `relative` for which a Gram matrix may be formed."""


def _whitener(factor, relative):
    """The triangle `T` with `T^T T = F^T F + eps I`."""
    _, params = factor.shape
    eps = relative * jnp.sum(factor**2) / params
    eps = jnp.where(eps > 0, eps, 1)
    eye = jnp.eye(params, dtype=factor.dtype)
    if relative >= TAME:
        # Its condition number is at most params / relative, so that nothing is lost by
        # products, which cost a third of an orthogonal reduction or less.
        return jnp.linalg.cholesky(gram(factor) + eps * eye, upper=True)
    return jnp.linalg.qr(jnp.concatenate([factor, jnp.sqrt(eps) * eye]), mode="r")


def _solve_right(matrix, triangle):
    """`matrix @ inv(triangle)` for an upper triangle."""
    return solve_triangular(triangle.T, matrix.T, lower=True).T


class Coordinates(eqx.Module):
    r"""$d = V y$, where the length of $y$ is that of $d$ in the metric of the damping."""

    frame: Float[Array, "params rank"] | None
    triangle: Float[Array, "params params"] | None

    def expanded(self, steps: Float[Array, " *shape"]) -> Float[Array, " *full"]:
        """$V y$, of a vector or of columns."""
        steps = steps if self.frame is None else matmul(self.frame, steps)
        if self.triangle is None:
            return steps
        return solve_triangular(self.triangle, steps)

    def reduced(self, vector: Float[Array, " params"]) -> Float[Array, " rank"]:
        """$V^T v$."""
        if self.triangle is not None:
            vector = solve_triangular(self.triangle.T, vector, lower=True)
        return vector if self.frame is None else matmul(self.frame.T, vector)


def core_of(
    jacobian: Float[Array, "rows params"],
    residual: Float[Array, " rows"],
    factor: Float[Array, "any params"] | None = None,
    relative: float = 0.1,
) -> tuple[Float[Array, "rank rank"], Float[Array, " rank"], Coordinates]:
    r"""$C$, $t$ and the way back from the $y$ of $\min_y |t + C y|^2$, of which there are as
    many as rows of $C$, by orthogonal reductions of $J$ itself.

    Never forms $J^T J$, whose condition number is squared. Tall Jacobians are reduced
    to their triangle, wide ones to the triangle of their transpose (the dual form).

    **Arguments:** as for `least_squares_spectrum`.
    """
    rows, params = jacobian.shape
    triangle = None if factor is None else _whitener(factor, relative)
    if rows >= params:
        stacked = jnp.concatenate([jacobian, residual[:, None]], axis=1)
        reduced = jnp.linalg.qr(stacked, mode="r")[:params]
        core, target = reduced[:, :params], reduced[:, params]
        core = core if triangle is None else _solve_right(core, triangle)
        return core, target, Coordinates(None, triangle)
    white = jacobian if triangle is None else _solve_right(jacobian, triangle)
    frame, core = jnp.linalg.qr(white.T)
    return core.T, residual, Coordinates(frame, triangle)


def least_squares_spectrum(
    jacobian: Float[Array, "rows params"],
    residual: Float[Array, " rows"],
    factor: Float[Array, "any params"] | None = None,
    relative: float = 0.1,
) -> Spectrum:
    r"""Diagonalises $\min_d |r + J d|^2$.

    **Arguments:**

    - `jacobian`: rows scaled like the residual.
    - `residual`: the residual at the current parameters.
    - `factor`: `F` of the metric $F^T F + \epsilon I$ that measures the damping; `None`
        for the Euclidean metric.
    - `relative`: $\epsilon$ as a part of the mean eigenvalue of $F^T F$.
    """
    core, target, coordinates = core_of(jacobian, residual, factor, relative)
    left, singular, right = jnp.linalg.svd(core, full_matrices=False)
    slope = singular * matmul(left.T, target)
    basis = coordinates.expanded(right.T)
    return Spectrum(basis, singular**2, slope, matmul(jacobian.T, residual))


def quadratic_spectrum(
    factor: Float[Array, "rows params"], gradient: Float[Array, " params"]
) -> Spectrum:
    """Diagonalises the model with curvature `F^T F` and a given gradient."""
    rows, params = factor.shape
    if rows >= params:
        core = jnp.linalg.qr(factor, mode="r")
        _, singular, right = jnp.linalg.svd(core, full_matrices=False)
        basis = right.T
        return Spectrum(basis, singular**2, matmul(basis.T, gradient), gradient)
    frame, core = jnp.linalg.qr(factor.T)
    _, singular, right = jnp.linalg.svd(core.T, full_matrices=False)
    basis = matmul(frame, right.T)
    slope = matmul(basis.T, gradient)
    rest = gradient - matmul(basis, slope)
    return Spectrum(basis, singular**2, slope, gradient, rest)
