"""Sobolev metrics of integer order, by automatic derivatives and quadrature."""

import itertools
import math

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp

from sobng.calculus import partial
from sobng.fields.algebra import entries
from sobng.metrics.metric import AbstractMetric
from sobng.problem import Energy
from sobng.system import chunked
from sobng.typing import PointFunction


def _multi_indices(order: int, dim: int):
    """Each derivative up to an order once, as a tuple of axes, with its weight.

    The weights $c_\\alpha = s! / (\\alpha!\\,(s - |\\alpha|)!)$ make the sum the norm with
    symbol $(1 + |\\xi|^2)^s$.
    """
    for degree in range(order + 1):
        for axes in itertools.combinations_with_replacement(range(dim), degree):
            counts = [axes.count(axis) for axis in set(axes)]
            weight = math.factorial(order) / math.factorial(order - degree)
            yield axes, weight / math.prod(math.factorial(c) for c in counts)


class SobolevMetric(AbstractMetric):
    r"""The metric of the Sobolev space $H^s(\Omega)$ of integer order $s$.

    In the directions $v, w$ of the parameters

    $$G(v, w) = \sum_{|\alpha| \le s} c_\alpha \int_\Omega
        \partial^\alpha (Du\,v)\; \partial^\alpha (Du\,w),
        \qquad c_\alpha = \frac{s!}{\alpha!\,(s - |\alpha|)!},$$

    by the quadrature of the system's interior points. Order 0 is $L^2$. For a residual
    of an operator of order $k$ the matching order is $s = k$, for a Ritz energy half of
    the operator's order. The field must have $s$ derivatives: no ReLU from order 1 on.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(metric=sn.SobolevMetric(order=1))
        ```

    ??? cite "Reference"

        After Bai, Rosenberg, Xu: arXiv 2202.06232. The factor by derivatives and
        quadrature follows Nurbekyan, Lei, Yang: arXiv 2202.06236.
    """

    order: int = eqx.field(static=True)

    def __init__(self, order: int = 1):
        """**Arguments:**

        - `order`: how many derivatives the norm sees, at least 0.

        **Raises:** `ValueError` if the order is not a non-negative integer.
        """
        if not (isinstance(order, int) and order >= 0):
            raise ValueError(
                "`SobolevMetric` by quadrature needs an integer order of at least 0. "
                f"Got {order!r}."
            )
        self.order = order

    def factor(self, system, params, args):
        del args
        flat, unravel = jfu.ravel_pytree(params)
        terms = list(_multi_indices(self.order, system.problem.dim))

        def jet(flat, x, weight):
            unknown = system.unknown(unravel(flat))
            parts = entries(unknown).values()
            functions: list[PointFunction] = [u for u in parts if callable(u)]
            values = [
                jnp.sqrt(c * weight) * jnp.ravel(partial(u, *axes)(x) if axes else u(x))
                for u in functions
                for axes, c in terms
            ]
            return jnp.concatenate(values)

        def rows(points, weights):
            blocks = chunked(
                lambda x, w: jax.jacrev(jet)(flat, x, w), system.chunk, points, weights
            )
            return blocks.reshape(-1, flat.size)

        return rows(*interior(system))


def interior(system):
    """The points and weights of the system's interior."""
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
