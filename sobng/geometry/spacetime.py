"""Products of a time interval and a domain in space."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.box import AbstractBox, Interval
from sobng.geometry.domain import AbstractDomain, OPERATORS
from sobng.geometry.faces import Faces
from sobng.geometry.implicit import conjunction
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

    def __init__(self, time: Interval, space: AbstractDomain):
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
        return Region("lateral", self, self.patch(self.space.names))

    def distance(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return jnp.minimum(self.time.distance(x[:1]), self.space.distance(x[1:]))

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

    def patch(self, names: tuple[str, ...]) -> AbstractPatch:
        space_names = tuple(name for name in names if name in self.space.names)
        patches: list[AbstractPatch] = []
        if isinstance(self.space, AbstractBox):
            lower, upper = ((*t, *x) for t, x in self._corners(self.space))
            faces = [(0, side) for side in self._sides(names)]
            if space_names:
                walls = self.space.patch(space_names)
                assert isinstance(walls, Faces)
                faces += [(1 + axis, side) for axis, side in walls.faces]
            return Faces(lower, upper, tuple(faces))
        patches += [Slice(self.time, side, self.space) for side in self._sides(names)]
        if space_names:
            patches.append(Cylinder(self.time, self.space.patch(space_names)))
        return join(patches)

    def _corners(self, space: AbstractBox):
        return ((self.time.lower, space.lower), (self.time.upper, space.upper))

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
    def has_factor(self) -> bool:
        return True

    @property
    def value(self) -> float:
        """The time."""
        return (self.time.lower, self.time.upper)[self.side][0]

    def rule(self, num: int) -> Rule:
        points, weights = self.space.rule(num)
        return np.insert(points, 0, self.value, axis=1), weights

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return np.insert(self.space.draw(num, uniforms), 0, self.value, axis=1)

    def gap(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return jnp.abs(x[0] - self.value)

    def normal(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return jnp.zeros_like(x).at[0].set(2.0 * self.side - 1.0)

    def factor(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        sign = 1.0 - 2.0 * self.side
        return (x[0] - self.value) * (sign / self.time.measure)


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

    @property
    def has_factor(self) -> bool:
        return self.base.has_factor

    def rule(self, num: int) -> Rule:
        return _product_rule(self.time, self.base, num, self.base.dim)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return _product_draw(self.time, self.base, num, uniforms)

    def gap(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.base.gap(x[1:])

    def normal(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return jnp.concatenate([jnp.zeros_like(x[:1]), self.base.normal(x[1:])])

    def factor(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.base.factor(x[1:])


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
