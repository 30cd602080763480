"""Sobolev norms of any real order, by the eigenfunctions of a boundary condition."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.geometry.region import Region
from sobng.norms.boxes import box_modes, is_box
from sobng.norms.modes import Modes, norm_on_points, NormOnPoints
from sobng.norms.ritz import ritz_modes
from sobng.norms.scales import checked_scale, Scale, scale_of_axes


BOUNDARIES = ("dirichlet", "neumann", "periodic")


class SobolevNorm(eqx.Module):
    r"""The norm of order $s$, any real number, of functions known at points.

    With the orthonormal eigenfunctions $e_k$ of $-\Delta$ under a boundary condition and
    their eigenvalues $\xi_k^2$,

    $$\lVert v \rVert_s^2 = \sum_k (1 + \ell^2 \xi_k^2)^s \Bigl(\int v\, e_k\Bigr)^2.$$

    Order $-s$ is the norm of the functionals on the space of order $s$: with
    `boundary="dirichlet"`, $-1$ is the dual of $H^1_0$ and $-2$ that of $H^2 \cap H^1_0$.
    As the norm of a residual of order $k$, order $-k/2$ sees its error in the energy norm
    and $-k$ in $L^2$; see [`sobng.Condition`][].

    On boxes the eigenfunctions are sines, cosines or Fourier modes; elsewhere Ritz
    approximations in a space of random waves, whose eigenvalues are right to 2e-3 on smooth
    domains and to 1e-2 at re-entrant corners (measured). The points resolve the lower ones;
    what these leave of a function counts like the first that was left out, so that negative
    orders are measured from above and positive ones from below. A negative order wants a
    quadrature rule: random points see the rough part of a function as a smooth one.

    !!! example

        ```python
        import jax.numpy as jnp, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        points, weights = map(jnp.asarray, interval.interior.quadrature(40))
        norm = sn.SobolevNorm(-1).on(interval.interior, points, weights)
        rows = jnp.sqrt(weights) * jnp.sin(jnp.pi * points[:, 0])
        jnp.linalg.norm(norm(rows))    # 1 / sqrt(2 + 2 pi^2)
        ```
    """

    order: float = eqx.field(static=True)
    boundary: str = eqx.field(static=True)
    homogeneous: bool = eqx.field(static=True)
    scale: Scale = eqx.field(static=True)

    def __init__(
        self,
        order: int | float,
        *,
        boundary: str = "dirichlet",
        homogeneous: bool = False,
        scale: int | float | Sequence[int | float] = 1.0,
    ):
        r"""**Arguments:**

        - `order`: $s$, any real number.
        - `boundary`: the condition that the eigenfunctions obey: `"dirichlet"`,
            `"neumann"` or, on boxes, `"periodic"`. Above order 1/2, for Neumann 3/2, only
            functions that obey it too have a finite norm.
        - `homogeneous`: the symbol $|\ell\,\xi|^{2s}$, in which a constant counts nothing.
            Order $-1$ with `"dirichlet"` is then the dual of $H^1_0$ under the norm of the
            gradient.
        - `scale`: the length $\ell$; one for all axes, or one for each. Zero leaves
            an axis out.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        if not (isinstance(order, int | float) and abs(order) < float("inf")):
            raise ValueError(f"The order of a norm is a real number. Got {order!r}.")
        if boundary not in BOUNDARIES:
            raise ValueError(
                "`boundary` is 'dirichlet', 'neumann' or 'periodic', the condition of "
                f"the eigenfunctions. Got {boundary!r}."
            )
        self.order = float(order)
        self.boundary = boundary
        self.homogeneous = homogeneous
        self.scale = checked_scale(scale)
        if self.scale == 0 or (isinstance(self.scale, tuple) and not any(self.scale)):
            raise ValueError(
                "With a scale of zero no derivative is left. Give the length of at "
                "least one axis, or order 0."
            )

    def on(
        self, region: Region, points: Float[Array, "n dim"], weights: Float[Array, " n"]
    ) -> NormOnPoints:
        """The norm of functions on the interior of a domain that are known at points.

        **Arguments:**

        - `region`: an interior.
        - `points`, `weights`: a quadrature rule there.

        **Returns:** a linear map of `sqrt(weights) * values` to numbers whose squares sum
        to the square of the norm. Maps for as many points have the same shapes.

        **Raises:** `ValueError` for a boundary, and where no eigenfunctions are known.
        """
        self.check(region)
        scales = scale_of_axes("SobolevNorm", self.scale, region.dim)
        modes = _modes(region, points, weights, self.boundary, scales)
        order = jnp.asarray(self.order, points.dtype)
        return norm_on_points(modes, order, self.homogeneous)

    def check(self, region: Region) -> None:
        """Raises `ValueError` where `on` does."""
        if region.is_boundary:
            raise ValueError(
                "A `SobolevNorm` measures functions on the interior of a domain. Got "
                f"the boundary part '{region.name}'. Leave `norm` out there."
            )
        scale_of_axes("SobolevNorm", self.scale, region.dim)
        if is_box(region):
            return
        if self.boundary == "periodic":
            raise ValueError(
                "A periodic norm needs a box. Got the interior of "
                f"`{type(region.domain).__name__}`. Use 'dirichlet' or 'neumann'."
            )
        if self.boundary == "dirichlet" and not region.domain.boundary.has_factor:
            raise ValueError(
                "A norm with `boundary='dirichlet'` needs a function that vanishes on "
                f"the boundary, and `{type(region.domain).__name__}` knows none. Use "
                "`boundary='neumann'`."
            )


@eqx.filter_jit
def _modes(region, points, weights, boundary, scales) -> Modes:
    modes = box_modes if is_box(region) else ritz_modes
    return modes(region, points, weights, boundary, scales)
