"""Intervals and axis-aligned boxes."""

import equinox as eqx
import numpy as np
from equinox import AbstractVar
from jaxtyping import Array, ArrayLike, Float

from sobng.geometry.checks import as_number, as_point, check_bounds, Coordinates
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.faces import Faces
from sobng.geometry.implicit import conjunction
from sobng.geometry.namespace import constant, Coords, Module, safe_root, Values
from sobng.geometry.quadrature import cuboid, Points, Rule, Uniforms
from sobng.geometry.region import Region


_NAMES = (("left", "right"), ("bottom", "top"), ("back", "front"))


class AbstractBox(AbstractDomain):
    """What intervals and boxes share."""

    lower: AbstractVar[tuple[float, ...]]
    upper: AbstractVar[tuple[float, ...]]

    @property
    def dim(self) -> int:
        return len(self.lower)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            _face_name(axis, side) for axis in range(self.dim) for side in (0, 1)
        )

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        return np.asarray(self.lower), np.asarray(self.upper)

    @property
    def measure(self) -> float:
        return float(np.prod(np.asarray(self.upper) - np.asarray(self.lower)))

    def signed(self, x: Coords, xp: Module) -> Values:
        return box_distance(self.lower, self.upper, x, xp)

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        scale = 2.0 / min(
            high - low for low, high in zip(self.lower, self.upper, strict=True)
        )
        return conjunction(
            [scale * (x[axis] - low) for axis, low in enumerate(self.lower)]
            + [scale * (high - x[axis]) for axis, high in enumerate(self.upper)]
        )

    def rule(self, num: int) -> Rule:
        return cuboid(self.lower, self.upper, num)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        lower, upper = self.bounds
        return lower + (upper - lower) * uniforms(num, self.dim)

    def has_factor(self, names: tuple[str, ...]) -> bool:
        return True

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        return self.patch(names).factor(x)

    def patch(self, names: tuple[str, ...]) -> Faces:
        indices = [self.names.index(name) for name in names]
        faces = tuple((index // 2, index % 2) for index in indices)
        return Faces(self.lower, self.upper, faces)

    def face(self, axis: int, side: int) -> Region:
        """One face.

        **Arguments:**

        - `axis`: the axis it is orthogonal to.
        - `side`: 0 for the lower, 1 for the upper face.

        **Raises:** `ValueError` if there is no such face.
        """
        if not (0 <= axis < self.dim and side in (0, 1)):
            raise ValueError(
                f"`{type(self).__name__}` has no such face. "
                f"Got axis {axis} and side {side}. "
                f"Choose an axis below {self.dim} and side 0 (lower) or 1 (upper)."
            )
        return self.part(_face_name(axis, side))


class Interval(AbstractBox):
    """The interval between two numbers, with boundary parts `left` and `right`.

    !!! example

        ```python
        rod = sobng.Interval(-1.0, 1.0)
        rod.part("left").normal(jnp.array([-1.0]))  # [-1.]
        channel = sobng.Interval(0.0, 2.0) * rod  # space-time: t in (0, 2)
        ```
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, lower: ArrayLike, upper: ArrayLike):
        """**Arguments:**

        - `lower`, `upper`: its ends.

        **Raises:** `ValueError` unless both are finite and `lower < upper`.
        """
        self.lower = (as_number(lower, "Interval", "lower"),)
        self.upper = (as_number(upper, "Interval", "upper"),)
        check_bounds(self.lower, self.upper, "Interval")


class Box(AbstractBox):
    """An axis-aligned box of any dimension.

    Its boundary parts are `left`, `right` (first axis), `bottom`, `top` (second),
    `back`, `front` (third), then `lower_3`, `upper_3` and so on (counting axes from
    zero). `box.face(axis, side)` reaches them by number.

    Quadrature is tensor Gauss-Legendre up to three dimensions and a fixed Sobol
    sequence beyond.

    !!! example

        ```python
        square = sobng.Box((0.0, 0.0), (1.0, 1.0))
        points, weights = square.interior.quadrature(400)  # 20 x 20 Gauss points
        ```
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, lower: Coordinates, upper: Coordinates):
        """**Arguments:**

        - `lower`, `upper`: opposite corners, one number per axis.

        **Raises:** `ValueError` unless both are finite and `lower < upper`.
        """
        self.lower = as_point(lower, "Box", "lower")
        self.upper = as_point(upper, "Box", "upper")
        check_bounds(self.lower, self.upper, "Box")


def box_distance(
    lower: tuple[float, ...], upper: tuple[float, ...], x: Coords, xp: Module
) -> Values:
    """The signed Euclidean distance to the boundary of a box, positive inside."""
    excess = xp.maximum(constant(lower, x, xp) - x, x - constant(upper, x, xp))
    depth = -xp.max(excess, axis=-1)
    away = safe_root(xp.sum(xp.maximum(excess, 0.0) ** 2, axis=-1), xp)
    return xp.where(depth < 0, -away, depth)


def _face_name(axis: int, side: int) -> str:
    if axis < len(_NAMES):
        return _NAMES[axis][side]
    return f"{('lower', 'upper')[side]}_{axis}"
