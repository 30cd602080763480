"""The eigenfunctions of the Laplacian on boxes: sines, cosines, Fourier modes."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.box import AbstractBox
from sobng.geometry.quadrature import counts
from sobng.geometry.region import Region
from sobng.geometry.spacetime import SpaceTime
from sobng.norms.modes import Modes
from sobng.typing import Points, Weights


MOST = 1024
"""Modes in all; further ones would cost more than they tell."""


def is_box(region: Region) -> bool:
    """Whether a region is the interior of a box, of space or of space and time."""
    domain = region.domain
    if isinstance(domain, SpaceTime):
        domain = domain.space
    return isinstance(domain, AbstractBox)


def box_modes(
    region: Region,
    points: Points,
    weights: Weights,
    boundary: str,
    scales: tuple[float, ...],
) -> Modes:
    """The products of as many functions of each axis as a Gauss rule of so many points
    resolves: half as many as it has nodes there."""
    lower, upper = (np.asarray(bound) for bound in region.domain.bounds)
    lengths = upper - lower
    share = min(len(points), MOST * 2 ** len(lengths))
    nums = [max(1, num // 2) for num in counts(lengths.tolist(), share)]
    axes = [_frequencies(boundary, num) for num in nums]
    values = jnp.sqrt(weights / math.prod(lengths))[:, None]
    for axis, (halves, phases) in enumerate(axes):
        unit = (points[:, axis] - lower[axis].item()) / lengths[axis].item()
        factor = _waves(unit, halves, phases)
        values = (values[:, :, None] * factor[:, None]).reshape(len(points), -1)
    weighted = [
        (scale * math.pi * halves / length) ** 2
        for (halves, _), scale, length in zip(axes, scales, lengths, strict=True)
    ]
    squares = np.asarray([sum(combined) for combined in itertools.product(*weighted)])
    step = 2 if boundary == "periodic" else 1
    cut = min(
        (scale * math.pi * (halves[-1] + step) / length) ** 2
        for (halves, _), scale, length in zip(axes, scales, lengths, strict=True)
        if scale > 0
    )
    return Modes(
        values,
        jnp.asarray(squares, points.dtype),
        jnp.asarray(cut, points.dtype),
    )


def _frequencies(boundary: str, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Half-waves in the length of an axis, and phases, with `cos(pi halves t - phase)`."""
    if boundary == "dirichlet":
        return np.arange(1, num + 1), np.full(num, math.pi / 2)
    if boundary == "neumann":
        return np.arange(num), np.zeros(num)
    # The constant, and both phases of every whole wave.
    index = np.arange(num - (num + 1) % 2)
    return 2 * ((index + 1) // 2), math.pi / 2 * (index % 2)


def _waves(
    unit: Float[Array, " n"], halves: np.ndarray, phases: np.ndarray
) -> Float[Array, "n waves"]:
    height = np.where(halves == 0, 1.0, math.sqrt(2.0))
    halves, phases, height = (
        jnp.asarray(a, unit.dtype)[None] for a in (halves, phases, height)
    )
    return height * jnp.cos(math.pi * halves * unit[:, None] - phases)
