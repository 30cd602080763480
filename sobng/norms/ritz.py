"""Eigenfunctions of the Laplacian on any domain, in a space of random waves."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from sobng.geometry.region import Region
from sobng.norms.modes import Modes
from sobng.precision import matmul
from sobng.typing import Points, Weights


MOST = 600
"""Waves in all."""

WAVES = 2.0
"""Waves for each eigenfunction of a box around the domain below their frequency."""


def ritz_modes(
    region: Region,
    points: Points,
    weights: Weights,
    boundary: str,
    scales: tuple[float, ...],
) -> Modes:
    r"""The lower half of the Ritz pairs of $-\sum_i \ell_i^2 \partial_i^2$ among random
    waves, times the function that vanishes on the boundary for a Dirichlet condition.

    The Riesz representer of a functional in a norm of order one is its expansion in these.
    """
    num, dim = points.shape
    size = max(2, min(num // 4, MOST))
    dtype = points.dtype
    lower, upper = (np.asarray(bound) for bound in region.domain.bounds)
    half = (upper - lower) / 2
    waves, phases = _random_waves(size, dim)
    phases = phases - waves @ ((lower + upper) / 2 / half)
    angles = matmul(points, jnp.asarray((waves / half[None]).T, dtype))  # [n, waves]
    angles = angles + jnp.asarray(phases, dtype)[None]
    sines, cosines = jnp.sin(angles), jnp.cos(angles)
    factor, slopes = jnp.ones(num, dtype), jnp.zeros((num, dim), dtype)
    if boundary == "dirichlet":
        vanishing = region.domain.boundary.factor
        factor, slopes = jax.vmap(jax.value_and_grad(vanishing))(points)
    root = jnp.sqrt(weights)
    values = (root * factor)[:, None] * sines
    left, singular, right = jnp.linalg.svd(values, full_matrices=False)
    # Combinations that vanish but for rounding get a zero function
    seen = singular > jnp.finfo(dtype).eps ** 0.5 * singular[0]
    inverse = jnp.where(seen, 1 / jnp.where(seen, singular, 1), 0)
    stiffness = jnp.zeros((size, size), dtype)
    for axis, scale in enumerate(scales):
        along = jnp.asarray(scale * waves[:, axis] / half[axis], dtype)[None]
        rows = factor[:, None] * along * cosines + scale * slopes[:, axis, None] * sines
        rows = root[:, None] * matmul(rows, right.T) * inverse[None]
        stiffness = stiffness + matmul(rows.T, rows)
    # and an eigenvalue beyond all others.
    stiffness = stiffness + jnp.diag(jnp.where(seen, 0, 2 * jnp.trace(stiffness)))
    squares, vectors = jnp.linalg.eigh(stiffness)
    kept = size // 2
    functions = matmul(jnp.where(seen[None], left, 0), vectors[:, :kept])
    cut = squares[kept]
    # The constant among Neumann's, exactly.
    squares = jnp.where(
        squares[:kept] > jnp.finfo(dtype).eps ** 0.5 * cut, squares[:kept], 0
    )
    return Modes(functions, squares, cut)


def _random_waves(size: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors `[size, dim]` in the cube from -1 to 1, and phases; the first wave is
    the constant."""
    ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    reach = math.pi * (size / (WAVES * ball)) ** (1 / dim)
    random = np.random.default_rng(0)
    directions = random.normal(size=(size, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = reach * random.uniform(size=(size, 1)) ** (1 / dim)
    waves, phases = radii * directions, random.uniform(-math.pi, math.pi, size)
    waves[0], phases[0] = 0.0, math.pi / 2
    return waves, phases
