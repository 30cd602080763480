"""The abstract piece of boundary, and pieces joined."""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.namespace import Coords, Module, Values
from sobng.geometry.quadrature import Points, Rule, split, Uniforms


class AbstractPatch(eqx.Module):
    """A piece of the boundary of a domain: where it is and which way is outward.

    Patches are the geometry behind a `sobng.geometry.region.Region`; people see
    regions. They hold static floats only, so that two equal patches hash equal.
    """

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The dimension of its points (not of the patch, which has one less)."""

    @property
    @abc.abstractmethod
    def measure(self) -> float:
        """Length, area, or number of points in one dimension."""

    @abc.abstractmethod
    def rule(self, num: int) -> Rule:
        """A deterministic rule of about `num` points; weights sum to the measure."""

    @abc.abstractmethod
    def draw(self, num: int, uniforms: Uniforms) -> Points:
        """Exactly `num` points, uniformly distributed."""

    @abc.abstractmethod
    def gaps(self, x: Coords, xp: Module) -> Values:
        """The distance to the patch or to the surface it lies in, non-negative."""

    @abc.abstractmethod
    def normals(self, x: Coords, xp: Module) -> Coords:
        """The outward unit normals at points of the patch."""

    def normal(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The outward unit normal at one point (traceable)."""
        return self.normals(x, jnp)  # pyright: ignore[reportReturnType] (jnp in)


class Joined(AbstractPatch):
    """Several patches as one."""

    patches: tuple[AbstractPatch, ...]

    @property
    def dim(self) -> int:
        return self.patches[0].dim

    @property
    def measure(self) -> float:
        return sum(patch.measure for patch in self.patches)

    def rule(self, num: int) -> Rule:
        nums = split(num, [patch.measure for patch in self.patches])
        return concatenate(
            [patch.rule(n) for patch, n in zip(self.patches, nums, strict=True)]
        )

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        choice, _ = choose(
            uniforms(num, 1)[:, 0], [patch.measure for patch in self.patches]
        )
        return np.concatenate(
            [
                patch.draw(int(np.sum(choice == index)), uniforms.spawn(index))
                for index, patch in enumerate(self.patches)
            ]
        )

    def gaps(self, x: Coords, xp: Module) -> Values:
        return xp.min(self._all_gaps(x, xp), axis=-1)

    def normals(self, x: Coords, xp: Module) -> Coords:
        nearest = xp.argmin(self._all_gaps(x, xp), axis=-1)[..., None, None]
        normals = xp.stack([patch.normals(x, xp) for patch in self.patches], axis=-2)
        return xp.take_along_axis(normals, nearest, axis=-2)[..., 0, :]

    def _all_gaps(self, x: Coords, xp: Module):
        return xp.stack([patch.gaps(x, xp) for patch in self.patches], axis=-1)


def join(patches: Sequence[AbstractPatch]) -> AbstractPatch:
    """One patch from several, flat."""
    flat: list[AbstractPatch] = []
    for patch in patches:
        flat.extend(patch.patches if isinstance(patch, Joined) else (patch,))
    return flat[0] if len(flat) == 1 else Joined(tuple(flat))


def concatenate(rules: Sequence[tuple[np.ndarray, np.ndarray]]) -> Rule:
    """Rules of disjoint pieces as one rule."""
    points, weights = zip(*rules, strict=True)
    return np.concatenate(points), np.concatenate(weights)


def choose(
    unit: Float[np.ndarray, " n"], shares: Sequence[float]
) -> tuple[np.ndarray, Float[np.ndarray, " n"]]:
    """A piece for each number in (0, 1), and the number stretched over its piece.

    Stretching keeps the number uniform, so that one low-discrepancy coordinate runs
    through all pieces in turn, as an arc length does.
    """
    edges = np.concatenate([[0.0], np.cumsum(shares)])
    edges = edges / edges[-1]
    index = np.clip(np.searchsorted(edges, unit, side="right") - 1, 0, len(shares) - 1)
    stretched = (unit - edges[index]) / (edges[index + 1] - edges[index])
    return index, np.clip(stretched, 0.0, 1.0)
