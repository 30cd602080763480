"""Products of a time interval and a domain in space."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.box import AbstractBox, Interval
from sobng.geometry.domain import AbstractDomain, OPERATORS
from sobng.geometry.faces import Faces
from sobng.geometry.implicit import conjunction
from sobng.geometry.namespace import constant, Coords, Module, Values
from sobng.geometry.patch import AbstractPatch, join
from sobng.geometry.quadrature import (
    cuboid,
    gauss,
    Points,
    Rule,
    tensor,
    TENSOR_AXES,
    Uniforms,
)
from sobng.geometry.region import Region


class SpaceTime(AbstractDomain):
    """The points `(t, x_1, ..., x_d)` with `t` in an interval and `x` in a domain.

    Written `Interval(t0, t1) * space`. Its boundary parts are `initial`, `final` and
    those of the space. `boundary` is all of them: a parabolic problem wants
    `initial` and `lateral`.

    !!! example

        ```python
        cylinder = sobng.Interval(0.0, 2.0) * sobng.Disk((0.0, 0.0), 1.0)
        points, weights = cylinder.initial.quadrature(100)  # points[:, 0] == 0
        cylinder.lateral.normal(jnp.array([0.5, 1.0, 0.0]))  # [0., 1., 0.]
        ```
    """

    time: Interval
    space: AbstractDomain

    def __init__(self, time: AbstractDomain, space: AbstractDomain):
        """**Arguments:**

        - `time`: the interval of time.
        - `space`: the domain in space.

        **Raises:** `ValueError` if `time` is not an `Interval`, if `space` contains
        time already or has parts of the names `initial` or `final`.
        """
        if not isinstance(time, Interval) or isinstance(space, SpaceTime):
            raise ValueError(
                "A space-time product needs an `Interval` of time and a domain in "
                f"space. Got `{type(time).__name__}` times `{type(space).__name__}`. "
                "Write `Interval(t0, t1) * space`."
            )
        if {"initial", "final"} & set(space.names):
            raise ValueError(
                "A space-time product names its own parts `initial` and `final`. "
                f"Got a space with the parts {', '.join(map(repr, space.names))}. "
                "Rename them."
            )
        self.time = time
        self.space = space

    @property
    def dim(self) -> int:
        return 1 + self.space.dim

    @property
    def names(self) -> tuple[str, ...]:
        return ("initial", "final", *self.space.names)

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        pairs = zip(self.time.bounds, self.space.bounds, strict=True)
        lower, upper = (np.concatenate(pair) for pair in pairs)
        return lower, upper

    @property
    def measure(self) -> float:
        return self.time.measure * self.space.measure

    @property
    def initial(self) -> Region:
        """The space at the first time."""
        return self.part("initial")

    @property
    def final(self) -> Region:
        """The space at the last time."""
        return self.part("final")

    @property
    def lateral(self) -> Region:
        """The boundary of the space at all times."""
        names = self.space.names
        return Region("lateral", names, self, self.patch(names))

    def face(self, axis: int, side: int) -> Region:
        """One face, if the space is a box; axis 0 is time.

        **Raises:** `ValueError` if there is no such face.
        """
        if axis == 0 and side in (0, 1):
            return self.final if side else self.initial
        if not isinstance(self.space, AbstractBox):
            raise ValueError(
                "Only products of boxes have faces by number. "
                f"Got a space of type `{type(self.space).__name__}`. "
                "Use `part(name)`."
            )
        return self.part(self.space.face(axis - 1, side).name)

    def signed(self, x: Coords, xp: Module) -> Values:
        return xp.minimum(
            self.time.signed(x[..., :1], xp), self.space.signed(x[..., 1:], xp)
        )

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return conjunction([self.time.level(x[:1]), self.space.level(x[1:])])

    def rule(self, num: int) -> Rule:
        if isinstance(self.space, AbstractBox):
            lower, upper = self.bounds
            return cuboid(
                tuple(lower.tolist()), tuple(upper.tolist()), num, TENSOR_AXES + 1
            )
        return _product_rule(self.time, self.space, num, self.dim)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return _product_draw(self.time, self.space, num, uniforms)

    def has_factor(self, names: tuple[str, ...]) -> bool:
        walls = self._walls(names)
        return not walls or self.space.has_factor(walls)

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        walls, sides = self._walls(names), self._sides(names)
        value = self.space.factor(walls, x[1:]) if walls else jnp.ones((), x.dtype)
        if sides:
            ends = tuple((0, side) for side in sides)
            value = value * Faces(self.time.lower, self.time.upper, ends).factor(x[:1])
        return value

    def patch(self, names: tuple[str, ...]) -> AbstractPatch:
        walls, sides = self._walls(names), self._sides(names)
        if isinstance(self.space, AbstractBox):
            lower = (*self.time.lower, *self.space.lower)
            upper = (*self.time.upper, *self.space.upper)
            faces = [(0, side) for side in sides]
            if walls:
                spatial = self.space.patch(walls).faces
                faces += [(1 + axis, side) for axis, side in spatial]
            return Faces(lower, upper, tuple(faces))
        patches: list[AbstractPatch] = [
            Slice(self.time, side, self.space) for side in sides
        ]
        if walls:
            patches.append(Cylinder(self.time, self.space.patch(walls)))
        return join(patches)

    def _walls(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.space.names)

    def _sides(self, names: tuple[str, ...]) -> list[int]:
        return [side for side, name in enumerate(("initial", "final")) if name in names]


class Slice(AbstractPatch):
    """The space at the first (side 0) or the last (side 1) time."""

    time: Interval
    side: int = eqx.field(static=True)
    space: AbstractDomain

    @property
    def dim(self) -> int:
        return 1 + self.space.dim

    @property
    def measure(self) -> float:
        return self.space.measure

    @property
    def value(self) -> float:
        """The time."""
        return (self.time.lower, self.time.upper)[self.side][0]

    def rule(self, num: int) -> Rule:
        points, weights = self.space.rule(num)
        return np.insert(points, 0, self.value, axis=1), weights

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return np.insert(self.space.draw(num, uniforms), 0, self.value, axis=1)

    def gaps(self, x: Coords, xp: Module) -> Values:
        return xp.abs(x[..., 0] - self.value)

    def normals(self, x: Coords, xp: Module) -> Coords:
        outward = np.zeros(self.dim)
        outward[0] = 2.0 * self.side - 1.0
        return 0.0 * x + constant(outward, x, xp)


class Cylinder(AbstractPatch):
    """A piece of the boundary of the space, at all times."""

    time: Interval
    base: AbstractPatch

    @property
    def dim(self) -> int:
        return 1 + self.base.dim

    @property
    def measure(self) -> float:
        return self.time.measure * self.base.measure

    def rule(self, num: int) -> Rule:
        return _product_rule(self.time, self.base, num, self.base.dim)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return _product_draw(self.time, self.base, num, uniforms)

    def gaps(self, x: Coords, xp: Module) -> Values:
        return self.base.gaps(x[..., 1:], xp)

    def normals(self, x: Coords, xp: Module) -> Coords:
        spatial = self.base.normals(x[..., 1:], xp)
        return xp.concatenate([0.0 * x[..., :1], spatial], axis=-1)


def _product_rule(
    time: Interval, base: AbstractDomain | AbstractPatch, num: int, axes: int
) -> Rule:
    """Gauss in time times a rule in space; `axes` counts both."""
    times = max(1, round(num ** (1.0 / axes)))
    lower, upper = time.lower[0], time.upper[0]
    return tensor([gauss(lower, upper, times), base.rule(max(1, round(num / times)))])


def _product_draw(
    time: Interval, base: AbstractDomain | AbstractPatch, num: int, uniforms: Uniforms
) -> Points:
    """Uniform points; the first coordinate of the stream becomes the time."""
    times = time.draw(num, uniforms)
    return np.concatenate([times, base.draw(num, uniforms.after(1))], axis=1)


OPERATORS["product"] = SpaceTime
