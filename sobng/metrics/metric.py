"""The interface of the metrics."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from sobng.system import System


class AbstractMetric(eqx.Module):
    """An inner product of functions, pulled back to the parameters.

    The Gram matrix of the field's derivatives in its parameters is $G = F^T F$; a metric
    gives the factor $F$, never $G$, whose condition number is squared.
    """

    @abc.abstractmethod
    def factor(
        self, system: System, params: PyTree, args: Any
    ) -> Float[Array, "any params"] | None:
        """The factor of the Gram matrix on the points of the system.

        **Arguments:**

        - `system`: gives the points, their weights and the field.
        - `params`: where the metric is taken.
        - `args`: passed through to the problem.

        **Returns:** `F` with $F^T F = G$, any number of rows; `None` for the identity.
        """
