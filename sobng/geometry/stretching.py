"""Coordinates in which fronts that form and move are as wide as anything else."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sobng.geometry.quadrature import Points


DEGREE = 9
"""Of the spline, odd: a front of six samples is smooth to ten digits."""

BESIDE = DEGREE // 2
"""Samples beyond each end that it needs."""

HALVINGS = 52

SPARSE = 2
"""Of so many places one asks for room."""


class Stretching(eqx.Module):
    r"""Maps points $(t, x)$ of a rectangle to $(\tau, s)$ in $[-1, 1]^2$, at each time with
    room where it is needed.

    The room $s_x$ is nowhere less than what steep places $y$ of width $h(y)$ ask for,

    $$s_x \sim \Big(\int \frac{dy}{h(y)}\,
        \big(h(y)^2 + (x - y)^2\big)^{-2}\Big)^{1/4},$$

    so that it falls with the distance from a front as the distance grows, and every decade
    of distance gets as much. A spline of degree 9 of the samples, which keeps their order.

    !!! example

        ```python
        import jax.numpy as jnp
        import numpy as np
        import sobng as sn

        x = np.linspace(-1.0, 1.0, 257)
        widths = np.broadcast_to(1 / np.hypot(0.5, 50 / np.cosh(50 * x) ** 2), (17, 257))
        stretching = sn.Stretching((0.0, -1.0), (1.0, 1.0), widths)
        stretching(jnp.array([0.5, 0.02]))    # 0, 0.16: a hundredth of it gets a twelfth
        ```

    ??? cite "Reference"

        Huang, Russell: Adaptive Moving Mesh Methods (Springer 2011), for a monitor that
        is smoothed so that neighbouring cells are of like sizes. We differ in: the
        smoothing is a sum of powers, which is analytic in $x$.
    """

    lower: Float[ArrayLike, " 2"]
    upper: Float[ArrayLike, " 2"]
    heights: Float[ArrayLike, "times places"]
    """The coefficients of the spline: the samples of $s$, and more at each end."""
    room: Float[ArrayLike, ""]
    """The most that is asked for at one time: about as many decades as there are about
    fronts, each way and times 2.3."""

    def __init__(self, lower: Any, upper: Any, widths: Any, *, periodic: bool = False):
        """**Arguments:**

        - `lower`, `upper`: opposite corners of the rectangle.
        - `widths`: the width of what is at each of equidistant times and places, ends
            included.
        - `periodic`: whether the ends in space are one place.

        **Raises:** `ValueError` unless there are at least ten times and places, and all
        widths are positive.
        """
        widths = np.asarray(widths, float)
        few = widths.ndim != 2 or min(widths.shape) <= DEGREE
        if few or not np.all((widths > 0) & np.isfinite(widths)):
            raise ValueError(
                "A stretching needs positive widths at ten times and places or more. "
                f"Got an array of shape {widths.shape}."
            )
        self.lower = np.asarray(lower, float)
        self.upper = np.asarray(upper, float)
        length = float(self.upper[1] - self.lower[1])
        rooms = np.stack([_room(row, length, periodic) for row in widths])
        totals = np.cumsum((rooms[:, 1:] + rooms[:, :-1]) / 2, axis=1)
        samples = np.pad(2 * totals / totals[:, -1:], [(0, 0), (1, 0)]) - 1
        self.room = np.max(totals[:, -1]) * length / (widths.shape[1] - 1)
        samples = _extended(samples, periodic)
        self.heights = _extended(samples.T, False).T

    def __call__(self, x: Float[Array, " 2"]) -> Float[Array, " 2"]:
        """The stretched coordinates of one point."""
        lower, upper = (jnp.asarray(a, x.dtype) for a in (self.lower, self.upper))
        part = (x - lower) / (upper - lower)
        heights = jnp.asarray(self.heights, x.dtype)
        (first, before), (second, beside) = (
            _around(part[axis], size - DEGREE)
            for axis, size in enumerate(heights.shape)
        )
        size = DEGREE + 1
        near = jax.lax.dynamic_slice(heights, (first, second), (size, size))
        return jnp.stack(
            [2 * part[0] - 1, jnp.sum(before[:, None] * near * beside[None])]
        )

    def inverse(self, s: Points) -> tuple[Points, Float[np.ndarray, " n"]]:
        """The points of stretched coordinates, and the slopes of `x` in `s` there."""
        points, slopes = _inverse(self, jnp.asarray(s))
        return np.asarray(points), np.asarray(slopes)


@jax.jit
def _inverse(stretching: Stretching, s):
    lower, upper = (jnp.asarray(a) for a in (stretching.lower, stretching.upper))
    times = lower[0] + (s[:, 0] + 1) / 2 * (upper[0] - lower[0])
    at = jax.vmap(lambda t, x: stretching(jnp.stack([t, x]))[1])

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = at(times, middle) < s[:, 1]
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = jnp.full_like(times, lower[1]), jnp.full_like(times, upper[1])
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, ends)
    x = (low + high) / 2
    _, slope = jax.jvp(lambda x: at(times, x), (x,), (jnp.ones_like(x),))
    return jnp.stack([times, x], axis=1), 1 / slope


def _room(widths, length, periodic):
    """How much room each place asks for, by length."""
    places = np.linspace(0.0, length, len(widths))
    gap = np.abs(places[:, None] - places[None, ::SPARSE])
    if periodic:
        gap = length / np.pi * np.sin(np.pi / length * gap)
    own = widths[::SPARSE]
    share = np.full(len(own), SPARSE * length / (len(widths) - 1))
    share[[0, -1]] /= 2
    kernel = gap**2
    kernel += own**2
    kernel **= 2
    return ((1 / kernel) @ (share / own)) ** 0.25


def _extended(samples, periodic):
    """More columns at each end: the next period, or a mirror image."""
    first, last = samples[:, :1], samples[:, -1:]
    if periodic:
        before = samples[:, -1 - BESIDE : -1] - 2
        after = samples[:, 1 : 1 + BESIDE] + 2
    else:
        before = 2 * first - samples[:, BESIDE:0:-1]
        after = 2 * last - samples[:, -2 : -2 - BESIDE : -1]
    return np.concatenate([before, samples, after], axis=1)


def _spline_weights() -> np.ndarray:
    """The weights of the neighbours as polynomials in the place between two samples.

    By the recursion of Cox and de Boor on integer knots: with $f$ the place, what is at the
    $j$-th neighbour goes to it with $(j + 1 - f)$ and to the next with the rest.
    """
    weights = np.array([[1.0]])
    for degree in range(1, DEGREE + 1):
        new = np.zeros((degree + 1, degree + 1))
        for j, old in enumerate(weights):
            same, raised = np.append(old, 0.0), np.append(0.0, old)
            new[j] += ((j + 1) * same - raised) / degree
            new[j + 1] += ((degree - j - 1) * same + raised) / degree
        weights = new
    return weights


WEIGHTS = _spline_weights()


def _around(part, cells: int):
    """The first of the samples about a place, and their weights."""
    place = part * cells
    first = jnp.clip(jnp.floor(jax.lax.stop_gradient(place)), 0, cells - 1)
    # By Horner's rule: a power of zero has no derivative.
    weights = jnp.zeros(DEGREE + 1, part.dtype)
    for column in WEIGHTS.T[::-1]:
        weights = weights * (place - first) + jnp.asarray(column, part.dtype)
    return first.astype(jnp.int32), weights
