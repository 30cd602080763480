"""Sobolev metrics of real order, by interpolation with a reproducing kernel."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.kernels.kernel import AbstractKernel
from sobng.kernels.spread import spread
from sobng.linalg.whitening import check_regular, whiten
from sobng.metrics.gram import Pullback
from sobng.metrics.metric import AbstractMetric, interior, Values
from sobng.metrics.regularity import check_smooth
from sobng.typing import Points, Weights


MAX_POINTS = 5000
"""Points of a dense kernel matrix: it takes 200 MB, and its factor as much."""


class KernelMetric(AbstractMetric):
    r"""The metric of a reproducing kernel's space, from values of the field alone.

    With $J$ the derivative of the field's values at the interior points in the
    parameters, and $K$ the kernel at all pairs of points (for every component),

    $$G = J^T K^{-1} J = F^T F, \qquad F = L^{-1} J, \quad L L^T = K,$$

    which is the Gram matrix of the interpolants of least norm. It lies below that of the
    whole functions and grows to it as points are added; quadrature weights do not enter.
    With [`sobng.SobolevKernel`][] it is an $H^s$ metric for every real $s > d/2$ that
    needs no derivatives of the field: use it for fractional orders, for high orders,
    where derivatives of a deep field cost more than a triangular solve, and on scattered
    points without good weights. For integer orders on a quadrature rule
    [`sobng.SobolevMetric`][] has the smaller error. The norm is that of the least
    extension to the whole space, $H^s(\Omega)$ with boundary terms, and the error falls
    with the square of the points' distance for $s = 1$, with the distance for $s = 2$
    (where the points stop at the boundary, in one dimension). No problem was found so far
    on which it is the best choice of all metrics.

    $K$ is factorised once for each set of points. `on(system).transform.nugget` tells the
    part of the diagonal that was added to it: none if all pivots are above their rounding,
    else as little as makes them so, at most 1e-8 in float64 (1e-2 in float32). It makes $G$
    smaller.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(metric=sn.KernelMetric(sn.SobolevKernel(order=1.5)))
        ```

    ??? cite "Reference"

        After Bai, Rosenberg, Xu: arXiv 2202.06232. We differ in: whitening by the
        Cholesky factor instead of the inverse, and normalised kernels.
    """

    kernel: AbstractKernel
    nugget: float = eqx.field(static=True)
    max_points: int = eqx.field(static=True)

    def __init__(
        self, kernel: Any, *, nugget: float = 0.0, max_points: int = MAX_POINTS
    ):
        """**Arguments:**

        - `kernel`: its length scale, if it has none, becomes the median distance.
        - `nugget`: the least part of the diagonal of $K$ that is added to it.
        - `max_points`: of more points a well-spread subset is used, each point as far
            as possible from those before. $G$ is smaller for it.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        check_kernel("KernelMetric", kernel, nugget, max_points)
        self.kernel = kernel
        self.nugget = float(nugget)
        self.max_points = max_points

    def on(self, system, entry=None):
        """As in [`sobng.AbstractMetric`][].

        **Raises:** `ValueError` if the kernel does not exist in so many dimensions, a
        point is repeated, the matrix is singular beyond what a nugget mends, or the
        derivative of the field in its parameters jumps or has kinks where the kernel's
        space has none.
        """
        points = chosen("KernelMetric", *interior(system), self.max_points)
        dim = points.shape[1]
        order = (dim + self.kernel.smoothness(dim)) / 2
        check_smooth("KernelMetric", system, points, entry, order)
        kernel = self.kernel.fitted(points)
        whitening = whiten(kernel.matrix(points), self.nugget)
        check_regular(whitening, "KernelMetric")
        ones = jnp.ones_like(points[:, 0])
        return Pullback(system, Values(), points, ones, whitening, entry)


def check_kernel(name: str, kernel: Any, nugget: Any, max_points: Any) -> None:
    if not isinstance(kernel, AbstractKernel):
        raise ValueError(
            f"`{name}` needs a kernel, for instance `sobng.SobolevKernel(order=2)`. "
            f"Got {kernel!r}."
        )
    if not (isinstance(nugget, int | float) and 0 <= nugget < float("inf")):
        raise ValueError(f"`nugget` is a number of at least 0. Got {nugget!r}.")
    if not (isinstance(max_points, int) and max_points >= 1):
        raise ValueError(f"`max_points` is at least 1. Got {max_points!r}.")


def chosen(
    name: str, points: Points, weights: Weights, max_points: int
) -> Float[Array, "m dim"]:
    """The points, or a well-spread subset of them, without copies of weight zero.

    **Raises:** `ValueError` if a point is repeated, where the points are known.
    """
    if not any(isinstance(array, jax.core.Tracer) for array in (points, weights)):
        host = np.asarray(points)
        counts = np.asarray(weights) > 0  # copies that fill up devices have weight zero
        if not np.all(counts):
            points, host = points[np.flatnonzero(counts)], host[counts]
        distinct = len(np.unique(host, axis=0))
        if distinct < len(host):
            raise ValueError(
                f"`{name}` needs distinct points, as its kernel matrix is singular "
                f"otherwise. Got {len(host)} points of which {distinct} are distinct. "
                "Remove the copies."
            )
    if points.shape[0] <= max_points:
        return points
    return points[spread(points, max_points)]
