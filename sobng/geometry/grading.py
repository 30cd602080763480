"""Coordinates that stretch thin layers at the walls of a box."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sobng.geometry.quadrature import Points, RandomKey, Rule, seeded
from sobng.geometry.region import Region
from sobng.geometry.samplers import AbstractSampler


STRAIGHT = 100.0
"""A width that leaves an axis as it is, to five digits."""

THINNEST = 1e-6
"""The least width, as a part of the box, towards which held-out points are dense."""

HALVINGS = 60


class Grading(eqx.Module):
    r"""Maps a box to $[-1, 1]^d$, axis by axis, so that layers at its walls become wide.

    With $t$ the part of an axis that lies below a point and $w$ its width,

    $$s = \frac{\sinh^{-1}(t / w) - \sinh^{-1}((1 - t) / w)}{\sinh^{-1}(1 / w)},$$

    which is linear within a distance $w$ of a wall and logarithmic beyond: every decade of
    distance gets as much room.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        grading = sn.Grading((0.0,), (1.0,), (1e-3,))
        grading(jnp.array([0.001]))    # -0.88: a thousandth takes a seventeenth
        ```

    ??? cite "Reference"

        The stretching by an inverse hyperbolic sine follows Tee, Trefethen: A rational
        spectral collocation method with adaptively transformed Chebyshev grid points
        (SIAM J. Sci. Comput. 28, 2006). We differ in: both walls, and no pole is sought.
    """

    lower: Float[ArrayLike, " dim"]
    upper: Float[ArrayLike, " dim"]
    widths: Float[ArrayLike, " dim"]

    def __init__(self, lower: Any, upper: Any, widths: Any):
        """**Arguments:**

        - `lower`, `upper`: opposite corners of the box.
        - `widths`: of the layers along each axis, as parts of its length; an axis is left
            nearly as it is by widths far above one.

        **Raises:** `ValueError` unless there is a positive width for each axis.
        """
        widths = np.asarray(widths, float)
        if widths.shape != np.shape(lower) or not np.all(widths > 0):
            raise ValueError(
                "A grading needs one positive width for each axis. Got widths "
                f"{widths.tolist()} for corners {np.asarray(lower).tolist()}."
            )
        self.lower = np.asarray(lower, float)
        self.upper = np.asarray(upper, float)
        self.widths = widths

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The stretched coordinates of one point."""
        lower, upper, widths = (
            jnp.asarray(a, x.dtype) for a in (self.lower, self.upper, self.widths)
        )
        size = upper - lower
        return _stretched((x - lower) / size, (upper - x) / size, widths, jnp)

    def inverse(self, s: Points) -> tuple[Points, Points]:
        """The points of stretched coordinates, and the slopes of `x` in `s` there."""
        low, high = np.zeros_like(s), np.ones_like(s)
        widths = np.asarray(self.widths)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = _stretched(middle, 1 - middle, widths, np) < s
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        part = (low + high) / 2
        size = np.asarray(self.upper) - np.asarray(self.lower)
        return np.asarray(self.lower) + size * part, size / self._steepness(part)

    def density(self, x: Points) -> Points:
        """By axis, how dense points are that are uniform in the stretched coordinates,
        relative to uniform ones."""
        size = np.asarray(self.upper) - np.asarray(self.lower)
        return self._steepness((x - np.asarray(self.lower)) / size) / 2

    def _steepness(self, part: Points) -> Points:
        """The slope of `s` in the part of an axis that lies below a point."""
        widths = np.asarray(self.widths)
        slope = 1 / np.hypot(part, widths) + 1 / np.hypot(1 - part, widths)
        return slope / np.arcsinh(1 / widths)


def _stretched(below, above, widths, xp):
    room = xp.arcsinh(1 / widths)
    return (xp.arcsinh(below / widths) - xp.arcsinh(above / widths)) / room


class GradedRule(AbstractSampler):
    """The points of another sampler, which become dense where a grading stretches.

    !!! example

        ```python
        import jax, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        grading = sn.Grading((0.0,), (1.0,), (1e-3,))
        sampler = sn.GradedRule(sn.Gauss(100), grading)
        points, weights = sampler(interval.interior, jax.random.key(0))
        ```
    """

    sampler: AbstractSampler
    grading: Grading

    def __init__(self, sampler: AbstractSampler, grading: Grading):
        """**Arguments:**

        - `sampler`: on a region of the box that the grading maps.
        - `grading`: where points are to be dense.
        """
        self.sampler = sampler
        self.grading = grading

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        points, weights = self.sampler(region, key)
        cell, size = _cell(self.grading, points)
        found, slopes = self.grading.inverse(cell)
        inside = _inside(region, points)
        found = np.where(inside, found, points)
        return found, weights * np.prod(np.where(inside, 2 * slopes / size, 1), axis=1)


class GradedSample(AbstractSampler):
    """Random points of which, along every axis, half are dense at the walls however thin
    a layer there is; their weights make sums over them integrals.

    !!! example

        ```python
        import jax, sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        sampler = sn.GradedSample(512)
        points, weights = sampler(square.interior, jax.random.key(0))
        ```
    """

    num: int = eqx.field(static=True)

    def __init__(self, num: int):
        """**Arguments:**

        - `num`: how many points.
        """
        self.num = num

    def __call__(self, region: Region, key: RandomKey) -> Rule:
        points, weights = region.sample(self.num, key)
        lower, upper = region.domain.bounds
        grading = Grading(lower, upper, np.full(len(lower), THINNEST))
        cell, _ = _cell(grading, points)
        found, _ = grading.inverse(cell)
        inside = _inside(region, points)
        chance = np.random.default_rng(seeded(key).spawn(1).seed).random(points.shape)
        found = np.where(inside & (chance < 0.5), found, points)
        density = np.where(inside, (1 + grading.density(found)) / 2, 1)
        return found, weights / np.prod(density, axis=1)


def _inside(region: Region, points: Points) -> np.ndarray:
    """Of which points which coordinates are not on a wall: asked of the box itself, as
    cells of points on a wall are rounded."""
    lower, upper = region.domain.bounds
    return (points > lower) & (points < upper)


def _cell(grading: Grading, points: Points) -> tuple[Points, Float[np.ndarray, " dim"]]:
    """Points in `[-1, 1]^dim`, and the lengths of the axes."""
    lower, upper = np.asarray(grading.lower), np.asarray(grading.upper)
    return (2 * points - (lower + upper)) / (upper - lower), upper - lower
