"""The interface of the metrics, their sums and their multiples."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.metrics.gram import AbstractGram, measured, Selection, Total
from sobng.problem import Energy
from sobng.system import System
from sobng.typing import Point, Points, Vector, Weights


class AbstractMetric(eqx.Module):
    """An inner product of functions, pulled back to the parameters of a field.

    A metric says what it measures; `on` brings it to the points of a system. Metrics may
    be added and multiplied by positive numbers.

    !!! example

        ```python
        import sobng as sn

        sn.SobolevMetric(order=1) + 1e-3 * sn.EuclideanMetric()
        ```
    """

    @abc.abstractmethod
    def on(self, system: System, entry: str | None = None) -> AbstractGram | None:
        """The Gram matrix of the metric on the points of a system, made once for each.

        **Arguments:**

        - `system`: gives points, weights and field.
        - `entry`: measure this entry of a dict unknown only.

        **Returns:** a Gram matrix, or `None` for the identity.

        **Raises:** `ValueError` if points or field do not suit the metric.
        """

    def __add__(self, other: "AbstractMetric") -> "AbstractMetric":
        if not isinstance(other, AbstractMetric):
            return NotImplemented
        return Sum((self, other), (1.0, 1.0))

    def __mul__(self, factor: int | float) -> "AbstractMetric":
        if not isinstance(factor, int | float):
            return NotImplemented
        if not 0 < factor < float("inf"):
            raise ValueError(
                f"A metric is multiplied by a positive, finite number. Got {factor!r}."
            )
        return Sum((self,), (float(factor),))

    __rmul__ = __mul__


class Sum(AbstractMetric):
    """Metrics with positive coefficients, added."""

    metrics: tuple[AbstractMetric, ...]
    coefficients: tuple[float, ...] = eqx.field(static=True)

    def on(self, system, entry=None):
        grams = (metric.on(system, entry) for metric in self.metrics)
        return Total(
            tuple(identity(system, entry) if gram is None else gram for gram in grams),
            self.coefficients,
        )


def identity(system: System, entry: str | None) -> Selection:
    """The identity on the parameters of one entry, or on all."""
    measured(system.unknown(system.params), entry)

    def mark(path, leaf):
        ours = entry is None or path[0] == jax.tree_util.DictKey(entry)
        return np.full(leaf.size, ours)

    marks = jax.tree_util.tree_map_with_path(mark, system.params)
    chosen = np.flatnonzero(np.concatenate(jax.tree.leaves(marks)))
    return Selection(tuple(int(i) for i in chosen))


def interior(system: System) -> tuple[Points, Weights]:
    """The points and weights of the system's interior.

    **Raises:** `ValueError` if all conditions are on the boundary.
    """
    if isinstance(system.problem, Energy):
        name = ""
    else:
        inside = [c.name for c in system.problem.conditions if not c.region.is_boundary]
        if not inside:
            raise ValueError(
                "A metric on the domain needs a condition on its interior, whose points "
                "it shares. This problem has conditions on the boundary only; use "
                "`sobng.EuclideanMetric()`."
            )
        name = inside[0]
    return system.collocation.points[name], system.collocation.weights[name]


class Values(eqx.Module):
    """The values of all fields at a point, in one vector: what a metric on values pulls
    back."""

    def __call__(self, unknown: PyTree, x: Point, args: Any) -> Vector:
        del args
        return jnp.concatenate([jnp.ravel(u(x)) for u in fields(unknown)])


def fields(unknown: PyTree) -> list:
    """The functions of a point among the entries of what is measured."""
    values = unknown.values() if isinstance(unknown, dict) else [unknown]
    return [value for value in values if callable(value)]
