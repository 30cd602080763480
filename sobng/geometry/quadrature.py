"""Rules and uniform points on intervals and cubes: what all shapes are mapped from.

Everything here runs on the host in NumPy float64; nothing is traced.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Key, UInt32


Points: TypeAlias = Float[np.ndarray, "n dim"]
Weights: TypeAlias = Float[np.ndarray, " n"]
Rule: TypeAlias = tuple[Points, Weights]
RandomKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]

# Above this many axes a tensor rule has too few nodes per axis to be of use.
TENSOR_AXES = 3


MANY = 256
"""Nodes from which on those of SciPy, which knows that its matrix is a band, take a second
where NumPy's take minutes (5,000)."""


@functools.lru_cache(maxsize=256)
def _gauss_reference(num: int) -> tuple[np.ndarray, np.ndarray]:
    rule = (
        np.polynomial.legendre.leggauss if num < MANY else scipy.special.roots_legendre
    )
    nodes, weights = rule(num)
    nodes.setflags(write=False)  # shared by all callers
    weights.setflags(write=False)
    return nodes, weights


def gauss(
    lower: float, upper: float, num: int
) -> tuple[Float[np.ndarray, " n"], Weights]:
    """Gauss-Legendre nodes and weights on an interval: exact to degree `2 num - 1`."""
    nodes, weights = _gauss_reference(num)
    half = 0.5 * (upper - lower)
    return lower + half * (1.0 + nodes), half * weights


def tensor(factors: Sequence[tuple[np.ndarray, np.ndarray]]) -> Rule:
    """The product of rules: of nodes `[n_i]` or points `[n_i, dim_i]` each."""
    points, weights = np.zeros((1, 0)), np.ones(1)
    for nodes, ws in factors:
        nodes = nodes.reshape(len(ws), -1)
        points = np.concatenate(
            [np.repeat(points, len(ws), axis=0), np.tile(nodes, (len(points), 1))],
            axis=1,
        )
        weights = np.outer(weights, ws).ravel()
    return points, weights


def split(num: int, shares: Sequence[float]) -> list[int]:
    """About `num` points divided in proportion to `shares`, at least one each."""
    total = math.fsum(shares)
    return [max(1, round(num * share / total)) for share in shares]


def counts(lengths: Sequence[float], num: int) -> list[int]:
    """Nodes per axis of a tensor rule with about `num` points.

    Proportional to the lengths of the axes, but within a factor of three of their
    geometric mean, since axes may have different units.
    """
    relative = np.asarray(lengths, dtype=np.float64)
    relative = relative / np.exp(np.mean(np.log(relative)))
    relative = np.clip(relative, 1 / 3, 3.0)
    target = relative * (num / np.prod(relative)) ** (1 / len(relative))
    return [max(1, round(float(t))) for t in target]


def cuboid(
    lower: tuple[float, ...],
    upper: tuple[float, ...],
    num: int,
    axes: int = TENSOR_AXES,
) -> Rule:
    """Tensor Gauss on a box of up to `axes` dimensions, else fixed Sobol points."""
    low, high = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    if len(low) > axes:
        unit = fixed()(num, len(low))
        volume = math.prod((high - low).tolist())
        return low + (high - low) * unit, np.full(num, volume / num)
    nums = counts((high - low).tolist(), num)
    return tensor([gauss(a, b, n) for a, b, n in zip(lower, upper, nums, strict=True)])


@dataclasses.dataclass(frozen=True)
class Uniforms:
    """A stream of points in the unit cube; calling it twice gives the same points.

    A shorter call returns the beginning of a longer one, so that rejection can ask
    for more without losing what it has.
    """

    seed: tuple[int, ...]
    sobol: bool
    skip: int = 0

    def __call__(self, num: int, dim: int) -> Float[np.ndarray, "n dim"]:
        return self._all(num, self.skip + dim)[:, self.skip :]

    def after(self, dim: int) -> "Uniforms":
        """The same stream without its first `dim` coordinates."""
        return dataclasses.replace(self, skip=self.skip + dim)

    def spawn(self, index: int) -> "Uniforms":
        """An independent stream."""
        return Uniforms((*self.seed, index), self.sobol)

    def _all(self, num: int, dim: int) -> Float[np.ndarray, "n dim"]:
        generator = np.random.default_rng(self.seed)
        if not self.sobol:
            return generator.random((num, dim))
        from scipy.stats import qmc  # slow to import

        sequence = qmc.Sobol(dim, scramble=True, rng=generator)
        # A power of two keeps the balance (and scipy quiet); points are multiples of
        # 2^-30, and half a cell keeps them off the boundary.
        unit = sequence.random_base2(max(0, math.ceil(math.log2(max(num, 1)))))
        return unit[:num] + 2.0**-31


def seeded(key: RandomKey, sobol: bool = True) -> Uniforms:
    """The stream that belongs to a JAX key."""
    data = jr.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    seed = tuple(int(word) for word in np.asarray(data).ravel())
    return Uniforms(seed, sobol)


def fixed() -> Uniforms:
    """The stream of deterministic rules."""
    return Uniforms((0,), True)


def accepted(
    draw: Callable[[int], Points],
    inside: Callable[[Points], np.ndarray],
    num: int,
    owner: str,
) -> Points:
    """The first `num` points of a stream that fall inside.

    **Raises:** `ValueError` if hardly any does.
    """
    tried, points = max(64, 2 * num), np.zeros((0, 0))
    while tried <= max(2**22, 64 * num):
        points = draw(tried)
        points = points[inside(points)]
        if len(points) >= num:
            return points[:num]
        tried *= 2
    raise ValueError(
        f"`{owner}` seems to be empty. Got {len(points)} of {num} points inside it "
        f"after {tried // 2} trials. Check that its pieces overlap as intended."
    )
