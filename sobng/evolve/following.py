"""Points of a box that follow a field as it moves: tensor rules, stretched by axis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.chunks import chunked
from sobng.geometry.quadrature import gauss


SHARES = (0.35, 0.35)
"""Of the points, what follows slopes and what follows bends."""

CELLS = {1: 4, 2: 2, 3: 2}
"""Cells on which a field is looked at, for each point of an axis, by dimension."""

WIDE = 8
"""Points over which a density is smoothed."""


class Density(NamedTuple):
    """A density along one axis, linear between the ends of cells."""

    ends: Float[Array, " m"]
    values: Float[Array, " m"]
    mass: Float[Array, " m"]  # from the first end on

    def at(self, level: Float[Array, " n"]) -> tuple[Array, Array]:
        """Where a part of the mass lies below, and the density there.

        The mass is quadratic in a cell, and is inverted as such: so the derivative of the
        first result is one over the second, and weights are exact.
        """
        mass = level * self.mass[-1]
        last = len(self.ends) - 2
        cell = jnp.clip(jnp.searchsorted(self.mass, mass) - 1, 0, last)
        more, first = mass - self.mass[cell], self.values[cell]
        width = self.ends[cell + 1] - self.ends[cell]
        growth = (self.values[cell + 1] - first) / width
        root = jnp.sqrt(jnp.maximum(first**2 + 2 * growth * more, 0))
        step = 2 * more / (first + root)
        return self.ends[cell] + step, (first + growth * step) / self.mass[-1]


def densities(
    domain: Any,
    periodic: tuple[int, ...],
    each: int,
    field: Callable[[Array], Array],
    dtype: Any,
) -> list[Density]:
    """For each axis of a box how dense points are to be, by what a field does along it.

    A part is constant. The others follow the slopes of the field and the roots of its second
    differences, so that both have the size of an inverse length, each as its mean over the
    other axes.

    **Arguments:**

    - `periodic`: axes along which a density repeats.
    - `each`: the points of an axis.
    - `field`: a function of one point.
    """
    lower, upper = domain.bounds
    dim, num = domain.dim, CELLS[domain.dim] * each
    axes = [
        jnp.linspace(a, b, num + 1, dtype=dtype)
        for a, b in zip(lower, upper, strict=True)
    ]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    shape = (num + 1,) * dim
    values = chunked(field, 256, grid).reshape(*shape, -1)
    found = []
    for axis in range(dim):
        repeats, length = axis in periodic, float(upper[axis] - lower[axis])
        v = jnp.moveaxis(values, axis, 0)
        rough = [_slopes(v, repeats), _bends(v, repeats)]
        total, rest = jnp.zeros(num + 1, dtype), 1.0
        for share, part in zip(SHARES, rough, strict=True):
            line = _smooth(jnp.mean(part.reshape(num + 1, -1), axis=1), each, repeats)
            size = _integral(line, length)
            total = total + share * line / jnp.maximum(size, jnp.finfo(dtype).tiny)
            rest = rest - share
        total = total + rest / length
        cells = (total[1:] + total[:-1]) / 2 * (length / num)
        mass = jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(cells)])
        found.append(Density(axes[axis], total, mass))
    return found


def stretched(
    found: list[Density], periodic: tuple[int, ...], each: int
) -> tuple[Array, Array]:
    """A tensor rule of given densities: Gauss points of the mass along an axis with walls,
    equal steps of it along a periodic one."""
    dtype = found[0].ends.dtype
    nodes, weights = [], []
    for axis, density in enumerate(found):
        if axis in periodic:
            level, weight = (np.arange(each) + 0.5) / each, np.full(each, 1 / each)
        else:
            level, weight = gauss(0.0, 1.0, each)
        x, here = density.at(jnp.asarray(level, dtype))
        nodes.append(x)
        weights.append(jnp.asarray(weight, dtype) / here)
    flat = lambda parts: jnp.stack(
        [p.ravel() for p in jnp.meshgrid(*parts, indexing="ij")], axis=-1
    )
    return flat(nodes), jnp.prod(flat(weights), axis=-1)


def scattered(
    found: list[Density], levels: Float[Array, "m dim"]
) -> tuple[Array, Array]:
    """Points of the unit box as points of given densities, with weights of mean one."""
    parts = [d.at(levels[:, axis]) for axis, d in enumerate(found)]
    points = jnp.stack([x for x, _ in parts], axis=-1)
    lengths = [d.ends[-1] - d.ends[0] for d in found]
    weights = jnp.prod(
        jnp.stack(
            [1 / (n * here) for n, (_, here) in zip(lengths, parts, strict=True)]
        ),
        axis=0,
    )
    return points, weights / jnp.mean(weights)


def _slopes(v: Array, repeats: bool) -> Array:
    """Sizes of first differences along the first axis, at the ends of cells."""
    size = jnp.linalg.norm(jnp.diff(_more(v, repeats), axis=0), axis=-1)
    return (size[1:] + size[:-1]) / 2


def _bends(v: Array, repeats: bool) -> Array:
    """Roots of second differences along the first axis, at the ends of cells."""
    bent = jnp.linalg.norm(jnp.diff(_more(v, repeats), n=2, axis=0), axis=-1)
    if not repeats:  # a copied value would look like a bend
        bent = jnp.concatenate([bent[1:2], bent[1:-1], bent[-2:-1]])
    return jnp.sqrt(bent)


def _more(v: Array, repeats: bool) -> Array:
    """One value more at both ends: those of the period, or the same differences again."""
    if repeats:
        return jnp.concatenate([v[-2:-1], v, v[1:2]])
    return jnp.concatenate([2 * v[:1] - v[1:2], v, 2 * v[-1:] - v[-2:-1]])


def _smooth(line: Array, each: int, repeats: bool) -> Array:
    """Three moving averages."""
    half = max(1, (WIDE * (len(line) - 1) // each) // 6)
    kernel = jnp.ones(2 * half + 1, line.dtype) / (2 * half + 1)
    for _ in range(3):
        if repeats:  # the last end is the first one
            line = jnp.concatenate([line[-half - 1 : -1], line, line[1 : half + 1]])
        else:
            line = jnp.pad(line, half, mode="edge")
        line = jnp.convolve(line, kernel, mode="valid")
    return line


def _integral(line: Array, length: float) -> Array:
    return jnp.trapezoid(line) * length / (len(line) - 1)
