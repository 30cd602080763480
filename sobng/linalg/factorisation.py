"""The interface of the factorisations, and the matrices that they are given."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from sobng.linalg.spectrum import AbstractModel


class LinearMap(eqx.Module):
    """The Jacobian as functions, of which a factorisation calls those that it needs."""

    params: int = eqx.field(static=True)
    dense: Callable[[], Float[Array, "rows params"]]
    normal: Callable[
        [Float[Array, " rows"]],
        tuple[Float[Array, "params params"], Float[Array, " params"]],
    ]
    """The lower triangle of $J^T J$, and $J^T r$, without $J$ in memory where that can be."""
    forward: Callable[[Float[Array, " params"]], Float[Array, " rows"]]
    transposed: Callable[[Float[Array, " rows"]], Float[Array, " params"]]
    gram: Callable[[], Float[Array, "rows rows"]]
    """$J J^T$, without `params` columns where the owner of the map knows how."""
    many: Callable[[Float[Array, "params any"]], Float[Array, "rows any"]] | None = None
    """$J A$ for many columns, where the owner knows better than one by one."""
    many_transposed: (
        Callable[[Float[Array, "rows any"]], Float[Array, "params any"]] | None
    ) = None
    """$J^T A$, as well."""

    def products(self, columns: Float[Array, "params any"]) -> Float[Array, "rows any"]:
        """$J A$."""
        if self.many is not None:
            return self.many(columns)
        return jax.lax.map(self.forward, columns.T).T

    def transposed_products(
        self, columns: Float[Array, "rows any"]
    ) -> Float[Array, "params any"]:
        """$J^T A$."""
        if self.many_transposed is not None:
            return self.many_transposed(columns)
        return jax.lax.map(self.transposed, columns.T).T


class QuadraticForm(eqx.Module):
    """A Gram matrix $G = F^T F$ as functions: its factor, and its product with a vector."""

    factor: Callable[[], Float[Array, "any params"]]
    product: Callable[[Float[Array, " params"]], Float[Array, " params"]]


class AbstractFactorisation(eqx.Module):
    """Diagonalises the model of one step, so that a search may try many dampings.

    Knows neither equation nor metric: matrices come as functions.
    """

    @abc.abstractmethod
    def least_squares(
        self,
        jacobian: LinearMap,
        residual: Float[Array, " rows"],
        damping: QuadraticForm | None,
        relative: float,
    ) -> AbstractModel:
        r"""The model $\min_d |r + J d|^2$ with damping in the metric $G + \epsilon I$.

        **Arguments:**

        - `jacobian`: rows scaled like the residual.
        - `residual`: at the current parameters.
        - `damping`: $G$; `None` for the Euclidean metric.
        - `relative`: $\epsilon$ as a part of the mean eigenvalue of $G$.
        """

    @abc.abstractmethod
    def quadratic(
        self, curvature: QuadraticForm, gradient: Float[Array, " params"]
    ) -> AbstractModel:
        """The model with curvature $G$ and a given gradient, damping Euclidean."""
