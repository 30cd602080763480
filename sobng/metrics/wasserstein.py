"""The Wasserstein metric of densities."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.box import AbstractBox
from sobng.geometry.quadrature import counts
from sobng.metrics.gram import Pullback
from sobng.metrics.metric import AbstractMetric, interior, Values
from sobng.metrics.regularity import check_density
from sobng.precision import matmul


MODES = {2: 20, 3: 9}
"""Cosines for each axis of the potential, where the points resolve them."""


FLOOR = 1e-10
"""The least density that is divided by, as a part of the largest."""


class WassersteinMetric(AbstractMetric):
    r"""The metric of densities in which mass is moved: Otto's metric of $W_2$.

    A change $\zeta$ of a positive field $\rho$ costs the kinetic energy of the flow that
    brings it about,

    $$\|\zeta\|^2 = \int_\Omega \rho\,|\nabla\phi|^2, \qquad
        -\nabla\cdot(\rho\nabla\phi) = \zeta, \quad \partial_n\phi = 0,$$

    so that a translation by a unit costs the mass, however narrow the bumps. Natural where
    mass has to travel: fits that start far away. On an interval by the distribution
    function, $\int Z^2/\rho$ with $Z' = \zeta$; on boxes by a Galerkin solve with cosines.
    Only changes of zero total mass are measured; the mean of $\zeta$ counts for nothing.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(metric=sn.WassersteinMetric())
        ```

    ??? cite "Reference"

        Otto: Comm. Partial Differential Equations 26 (2001). Its pullback as a least-squares
        factor: Nurbekyan, Lei, Yang: arXiv 2202.06236.
    """

    modes: int | None = eqx.field(static=True)

    def __init__(self, *, modes: int | None = None):
        """**Arguments:**

        - `modes`: cosines for each axis of the potential on a box of two or three
            dimensions; by default 20 and 9, or as many as the points resolve.

        **Raises:** `ValueError` if there is not at least one.
        """
        if modes is not None and modes < 1:
            raise ValueError(f"`modes` is at least 1. Got {modes}.")
        self.modes = modes

    def on(self, system, entry=None):
        """As in [`sobng.AbstractMetric`][].

        **Raises:** `ValueError` if the domain is neither an interval nor a box of two or
        three dimensions, the field not positive, or the points too few for `modes`.
        """
        domain = system.problem.domain
        if not (isinstance(domain, AbstractBox) and domain.dim <= 3):
            raise ValueError(
                "`WassersteinMetric` lives on an interval or a box of two or three "
                f"dimensions. Got {domain!r}. Use `sobng.FisherRaoMetric()` elsewhere."
            )
        points, weights = interior(system)
        check_density("WassersteinMetric", system, points, entry)
        lower, upper = (np.asarray(b, points.dtype) for b in domain.bounds)
        if domain.dim == 1:
            transform = _Distribution(_cumulation(points[:, 0], weights), weights)
        else:
            nums = _modes(self.modes, upper - lower, len(points))
            slopes, values = _cosines(points, lower, upper, nums)
            transform = _Galerkin(slopes, values, weights)
        return Pullback(
            system, Values(), points, weights, transform=transform, entry=entry
        )


class _Distribution(eqx.Module):
    """The change of the distribution function, over the root of the density."""

    cumulation: Float[Array, "n n"]
    weights: Float[Array, " n"]

    def __call__(self, tangents, values):
        root = jnp.sqrt(self.weights)[:, None]
        # Both come scaled by the roots of the weights.
        changes = tangents.reshape(len(root), -1) / root
        mean = matmul(self.weights, changes) / jnp.sum(self.weights)
        changes = changes - mean[None]
        flow = matmul(self.cumulation, changes).reshape(tangents.shape)
        # Where there is next to no mass, rounding of the flow would count for more.
        density = values / root
        mass = jnp.maximum(density, FLOOR * jnp.max(density, axis=0, keepdims=True))
        scale = root / jnp.sqrt(mass)
        return flow * scale.reshape(*values.shape, *(1,) * (tangents.ndim - 2))


class _Galerkin(eqx.Module):
    """The solve for the potential, with the root of the weighted stiffness matrix."""

    slopes: Float[Array, "n dim modes"]
    values: Float[Array, "n modes"]
    weights: Float[Array, " n"]

    def __call__(self, tangents, values):
        root = jnp.sqrt(self.weights)

        def one(changes, density):
            # Where there is next to no mass, a little lets the triangle be inverted.
            mass = jnp.maximum(density / root, FLOOR * jnp.max(density / root))
            rows = self.slopes * (root * jnp.sqrt(mass))[:, None, None]
            rows = rows.reshape(-1, self.slopes.shape[-1])
            triangle = jnp.linalg.qr(rows, mode="r")
            load = matmul((self.values * root[:, None]).T, changes)
            return jax.scipy.linalg.solve_triangular(triangle, load, trans="T")

        flat = tangents.reshape(*values.shape, -1)
        solved = jax.vmap(one, in_axes=(1, 1), out_axes=1)(flat, values)
        return solved.reshape(-1, *tangents.shape[1:])


def _cumulation(points, weights) -> Float[Array, "n n"]:
    """The matrix that integrates from the left end to each point.

    Exact for polynomials on a Gauss rule; on other points half of a point's own weight
    and the whole of those to its left.
    """
    size, half = points.shape[0], jnp.sum(weights) / 2
    order = jnp.argsort(points)
    x, w = points[order], weights[order]
    nodes, rule = np.polynomial.legendre.leggauss(size)
    # Integrals of Legendre polynomials are differences of their neighbours.
    legendre = np.polynomial.legendre.legvander(nodes, size)
    rise = np.empty((size, size))
    rise[:, 0] = nodes + 1
    rise[:, 1:] = (legendre[:, 2:] - legendre[:, :-2]) / (2 * np.arange(1, size) + 1)
    norms = (2 * np.arange(size) + 1) / 2
    spectral = (rise * norms) @ (legendre[:, :-1] * rule[:, None]).T
    steps = jnp.tril(jnp.broadcast_to(w, (size, size)), -1) + jnp.diag(w / 2)
    gauss = jnp.sum(w * x) / (2 * half) + half * jnp.asarray(nodes, x.dtype)
    is_gauss = jnp.max(jnp.abs(x - gauss)) < 1e-5 * half
    table = jnp.where(is_gauss, half * jnp.asarray(spectral, x.dtype), steps)
    return jnp.zeros_like(table).at[jnp.ix_(order, order)].set(table)


def _modes(wanted: int | None, lengths: np.ndarray, num: int) -> list[int]:
    """How many cosines each axis of a box has, on about so many points in all."""
    # Gauss nodes in the middle are π/2 times as far apart as on average. A cosine that
    # turns faster than they follow is a slower one to them, and the stiffness singular.
    nodes = counts(lengths.tolist(), num)
    resolved = [max(1, int(2 * n / math.pi)) for n in nodes]
    if wanted is None:
        return [min(MODES[len(nodes)], most) for most in resolved]
    if wanted > min(resolved):
        raise ValueError(
            f"`WassersteinMetric` got `modes={wanted}` for each axis, and {num} points "
            f"resolve {resolved}. Use more points, or leave `modes` out."
        )
    return [wanted] * len(nodes)


def _cosines(points, lower, upper, nums: list[int]):
    """Slopes and values of the cosines on a box, but for the constant, at the points."""
    dim = points.shape[1]
    indices = [k for k in itertools.product(*(range(n + 1) for n in nums)) if any(k)]
    lengths = jnp.asarray(upper - lower)
    frequencies = jnp.asarray(indices, points.dtype) * (math.pi / lengths)[None]
    phases = frequencies[None] * (points - jnp.asarray(lower)[None])[:, None]
    cos, sin = jnp.cos(phases), jnp.sin(phases)
    values = jnp.prod(cos, axis=2)
    slopes = []
    for axis in range(dim):
        others = jnp.prod(jnp.delete(cos, axis, axis=2), axis=2)
        slopes.append(-frequencies[None, :, axis] * sin[:, :, axis] * others)
    return jnp.stack(slopes, axis=1), values
