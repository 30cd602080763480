"""Faces of an axis-aligned box."""

import functools
import operator

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.curves import Curve
from sobng.geometry.namespace import constant, Coords, Module, Values
from sobng.geometry.patch import AbstractPatch, choose, concatenate
from sobng.geometry.quadrature import cuboid, Points, Rule, split, Uniforms


class Faces(AbstractPatch):
    """Some faces of a box, each an `(axis, side)` with side 0 (lower) or 1 (upper)."""

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    faces: tuple[tuple[int, int], ...] = eqx.field(static=True)

    @property
    def dim(self) -> int:
        return len(self.lower)

    @property
    def measure(self) -> float:
        return float(sum(self._areas))

    def rule(self, num: int) -> Rule:
        nums = split(num, self._areas)
        return concatenate(
            [self._rule(face, n) for face, n in zip(self.faces, nums, strict=True)]
        )

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        lower, upper = np.asarray(self.lower), np.asarray(self.upper)
        unit = uniforms(num, max(1, self.dim - 1))
        choice, unit[:, 0] = choose(unit[:, 0], self._areas)
        points = np.empty((num, self.dim))
        for index, (axis, side) in enumerate(self.faces):
            rows = choice == index
            rest = [other for other in range(self.dim) if other != axis]
            points[rows, axis] = (self.lower, self.upper)[side][axis]
            cube = unit[rows, : len(rest)]
            points[np.ix_(rows, rest)] = (
                lower[rest] + (upper[rest] - lower[rest]) * cube
            )
        return points

    def gaps(self, x: Coords, xp: Module) -> Values:
        # The planes go on beyond the faces.
        lower, upper = constant(self.lower, x, xp), constant(self.upper, x, xp)
        beyond = xp.maximum(lower - x, 0.0) + xp.maximum(x - upper, 0.0)
        return xp.min(self._all_gaps(x, xp), axis=-1) + xp.sum(beyond, axis=-1)

    def normals(self, x: Coords, xp: Module) -> Coords:
        nearest = xp.argmin(self._all_gaps(x, xp), axis=-1)
        axes = np.array([axis for axis, _ in self.faces])
        signs = np.array([2.0 * side - 1.0 for _, side in self.faces])
        normals = np.zeros((len(self.faces), self.dim))
        normals[np.arange(len(self.faces)), axes] = signs
        return constant(normals, x, xp)[nearest]

    def factor(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """Zero on the faces, positive inside, with maximum one."""
        # s on a lower face, 1 - s on an upper one, 4 s (1 - s) where an axis has both.
        # Both are differences from the bound, so that they vanish exactly there.
        axes = [axis for axis, _ in self.faces]
        values = [
            (x[axis] - self.lower[axis] if side == 0 else self.upper[axis] - x[axis])
            * (axes.count(axis) / (self.upper[axis] - self.lower[axis]))
            for axis, side in self.faces
        ]
        return functools.reduce(operator.mul, values)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The faces of a rectangle as segments, with the inside to the left."""
        (a, b), (c, d) = self.lower, self.upper
        around = {
            (0, 0): Curve((a, d), (a, b)),
            (0, 1): Curve((c, b), (c, d)),
            (1, 0): Curve((a, b), (c, b)),
            (1, 1): Curve((c, d), (a, d)),
        }
        return tuple(around[face] for face in self.faces)

    @property
    def _areas(self) -> list[float]:
        lengths = np.asarray(self.upper) - np.asarray(self.lower)
        return [float(np.prod(np.delete(lengths, axis))) for axis, _ in self.faces]

    def _rule(self, face: tuple[int, int], num: int) -> Rule:
        axis, side = face
        value = (self.lower, self.upper)[side][axis]
        if self.dim == 1:
            return np.array([[value]]), np.ones(1)
        points, weights = cuboid(_drop(self.lower, axis), _drop(self.upper, axis), num)
        return np.insert(points, axis, value, axis=1), weights

    def _all_gaps(self, x: Coords, xp: Module):
        axes = np.array([axis for axis, _ in self.faces])
        values = np.array([(self.lower, self.upper)[side][a] for a, side in self.faces])
        return xp.abs(x[..., axes] - constant(values, x, xp))


def _drop(values: tuple[float, ...], axis: int) -> tuple[float, ...]:
    return values[:axis] + values[axis + 1 :]
