"""The kernel of the Sobolev spaces of real order, a Bessel potential."""

import math
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from sobng.kernels.bessel import bessel_potential
from sobng.kernels.kernel import AbstractKernel, as_scale, median_distance, reduced


class SobolevKernel(AbstractKernel):
    r"""The reproducing kernel of the Sobolev space $H^s$, for every real $s > d/2$.

    In $d$ dimensions, with length scale $\ell$ and $\nu = s - d/2$,

    $$\|v\|^2 = \int |\hat v(\xi)|^2 (1 + \ell^2 |\xi|^2)^s\, d\xi, \qquad
      K(x, y) = \frac{2^{1 - s}\, \ell^{-d}}{(2\pi)^{d/2}\, \Gamma(s)}\, r^\nu K_\nu(r),
      \quad r = \frac{|x - y|}{\ell},$$

    with the modified Bessel function $K_\nu$. This is a Matérn kernel with $\nu$ for its
    smoothness, $e^{-r}$ times a polynomial for half-integer $\nu$. Derivatives of order
    $k$ have point values if $s > d/2 + k$.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        kernel = sn.SobolevKernel(order=2.5, scale=0.3)
        kernel(jnp.array([0.1, 0.2]), jnp.array([0.3, 0.2]))
        ```

    ??? cite "Reference"

        Rosenberg: arXiv 2307.08696, for the representer of evaluation in $H^s$.
    """

    order: float = eqx.field(static=True)
    scale: Float[Array, ""] | None

    def __init__(self, order: Any, scale: Any = None):
        """**Arguments:**

        - `order`: the order of the space, above half the dimension of the points.
        - `scale`: the length scale; by default the median distance of the points that
            the kernel is used on (`fitted`).

        **Raises:** `ValueError` if the order or the scale is not a positive number.
        """
        if not (isinstance(order, int | float) and 0 < order < math.inf):
            raise ValueError(
                "`SobolevKernel` needs a positive order, above half the dimension. "
                f"Got {order!r}."
            )
        self.order = float(order)
        self.scale = as_scale(scale, "SobolevKernel")

    def _bessel_order(self, dim: int) -> float:
        if not self.order > dim / 2:
            raise ValueError(
                f"A function of {dim} coordinates has point values in a Sobolev space "
                f"of order above {dim / 2:g} only. `SobolevKernel` got order "
                f"{self.order:g}. Take a larger order, or `sobng.SobolevMetric` for "
                "integer orders."
            )
        return self.order - dim / 2

    def __call__(self, x, y):
        t, scale = reduced(x, y, self.scale, "SobolevKernel")
        nu = self._bessel_order(x.shape[0])
        half = 0.5 * x.shape[0]
        # The value at zero of the kernel with unit scale.
        peak = math.lgamma(nu) - math.lgamma(self.order) - half * math.log(4 * math.pi)
        height = math.exp(peak) / scale ** x.shape[0]
        return height * bessel_potential(nu, t)

    def unscaled(self, x, y):
        t, _ = reduced(x, y, self.scale, "SobolevKernel")
        return bessel_potential(self._bessel_order(x.shape[0]), t)

    def smoothness(self, dim):
        return math.ceil(2 * self._bessel_order(dim)) - 1

    def fitted(self, points):
        if self.scale is not None:
            return self
        return SobolevKernel(self.order, median_distance(points))
