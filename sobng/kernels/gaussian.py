"""The Gaussian kernel."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.kernels.kernel import AbstractKernel, as_scale, median_distance, reduced


class GaussianKernel(AbstractKernel):
    r"""The Gaussian kernel $K(x, y) = e^{-|x - y|^2 / (2 \ell^2)}$.

    Its space holds analytic functions only, and its matrices are close to singular on
    more than a few dozen points: prefer [`sobng.SobolevKernel`][] unless the solution is
    known to be so smooth.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        sn.GaussianKernel(scale=0.3).matrix(jnp.linspace(0.0, 1.0, 5)[:, None])
        ```
    """

    scale: Float[Array, ""] | None

    def __init__(self, scale: Any = None):
        r"""**Arguments:**

        - `scale`: the length scale $\ell$; by default the median distance of the points
            that the kernel is used on (`fitted`).

        **Raises:** `ValueError` if the scale is not a positive number.
        """
        self.scale = as_scale(scale, "GaussianKernel")

    def __call__(self, x, y):
        t, _ = reduced(x, y, self.scale, "GaussianKernel")
        return jnp.exp(-0.5 * t)

    def unscaled(self, x, y):
        return self(x, y)

    def smoothness(self, dim):
        del dim
        return math.inf

    def fitted(self, points):
        return (
            self if self.scale is not None else GaussianKernel(median_distance(points))
        )
