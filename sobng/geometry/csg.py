"""Unions, intersections and differences of domains."""

import abc
import functools

import jax.numpy as jnp
import numpy as np
from equinox import AbstractVar
from jaxtyping import Array, Float

from sobng.geometry.ball import Sphere
from sobng.geometry.combined import Remaining, surviving
from sobng.geometry.curves import Curve, Curves
from sobng.geometry.domain import AbstractDomain, OPERATORS
from sobng.geometry.faces import Faces
from sobng.geometry.implicit import conjunction, disjunction
from sobng.geometry.namespace import Coords, Module, Values
from sobng.geometry.patch import AbstractPatch, join
from sobng.geometry.polygon import draw_inside
from sobng.geometry.quadrature import fixed, Points, Rule, Uniforms
from sobng.geometry.slabs import enclosed_area, slab_rule
from sobng.geometry.spacetime import SpaceTime


SEAM_POINTS = 2048
"""Points of a boundary at which it is asked whether it lies inside of a union."""


class AbstractCombination(AbstractDomain):
    """What unions, intersections and differences share.

    The parts of the boundary keep their names; a name of the second domain that the
    first has too gets a number (`circle_2`). Parts that do not survive are left out.
    In the plane the boundary, the measure and the rules are exact, cell by cell; in
    more dimensions rules are fixed Sobol points, and measures have four digits.
    """

    first: AbstractVar[AbstractDomain]
    second: AbstractVar[AbstractDomain]

    @property
    @abc.abstractmethod
    def reverses(self) -> bool:
        """Whether the second domain is taken inside out."""

    @property
    def dim(self) -> int:
        return self.first.dim

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(_surviving_patches(self))

    @property
    def measure(self) -> float:
        return _measure(self)

    def rule(self, num: int) -> Rule:
        if self.dim == 2:
            return slab_rule(_all_curves(self), num)
        return self.draw(num, fixed()), np.full(num, self.measure / num)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return draw_inside(self, num, uniforms)

    def patch(self, names: tuple[str, ...]) -> AbstractPatch:
        patches = [_surviving_patches(self)[name] for name in names]
        if self.dim == 2:
            return Curves(
                tuple(curve for patch in patches for curve in _curves_of(patch))
            )
        return join(patches)


class Union(AbstractCombination):
    """The points in one of two domains: `first | second`.

    !!! example

        ```python
        snowman = sobng.Disk((0.0, 0.0), 1.0) | sobng.Disk((0.0, 1.4), 0.7)
        points, weights = snowman.boundary.quadrature(100)
        ```
    """

    first: AbstractDomain
    second: AbstractDomain

    def __init__(self, first: AbstractDomain, second: AbstractDomain):
        """**Raises:** `ValueError` unless both have the same dimension, at least 2."""
        self.first = first
        self.second = second
        _check(self)

    @property
    def reverses(self) -> bool:
        return False

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        (a, b), (c, d) = self.first.bounds, self.second.bounds
        return np.minimum(a, c), np.maximum(b, d)

    def signed(self, x: Coords, xp: Module) -> Values:
        return xp.maximum(self.first.signed(x, xp), self.second.signed(x, xp))

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return disjunction([self.first.level(x), self.second.level(x)])

    def has_factor(self, names: tuple[str, ...]) -> bool:
        # The factor of a part alone would vanish inside the other domain, and that of
        # domains which touch where they do.
        return set(names) == set(self.names) and not _has_seam(self)

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        return self.level(x)


class Intersection(AbstractCombination):
    """The points in both of two domains: `first & second`.

    !!! example

        ```python
        half = sobng.Disk((0.0, 0.0), 1.0) & sobng.Box((-1.0, 0.0), (1.0, 1.0))
        half.measure  # pi / 2
        ```
    """

    first: AbstractDomain
    second: AbstractDomain

    def __init__(self, first: AbstractDomain, second: AbstractDomain):
        """**Raises:** `ValueError` if the dimensions differ or nothing is left."""
        self.first = first
        self.second = second
        _check(self)

    @property
    def reverses(self) -> bool:
        return False

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        (a, b), (c, d) = self.first.bounds, self.second.bounds
        lower = np.maximum(a, c)
        return lower, np.maximum(np.minimum(b, d), lower)

    def signed(self, x: Coords, xp: Module) -> Values:
        return xp.minimum(self.first.signed(x, xp), self.second.signed(x, xp))

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return conjunction([self.first.level(x), self.second.level(x)])

    def has_factor(self, names: tuple[str, ...]) -> bool:
        ours, theirs = _origin(self, names)
        return (not ours or self.first.has_factor(ours)) and (
            not theirs or self.second.has_factor(theirs)
        )

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        ours, theirs = _origin(self, names)
        value = self.first.factor(ours, x) if ours else jnp.ones((), x.dtype)
        return value * self.second.factor(theirs, x) if theirs else value


class Difference(AbstractCombination):
    """The points in the first of two domains but not in the second: `first - second`.

    !!! example

        ```python
        plate = sobng.Box((-1.0, -1.0), (1.0, 1.0)) - sobng.Disk((0.0, 0.0), 0.5)
        plate.part("circle").normal(jnp.array([0.5, 0.0]))  # [-1., 0.]
        ```
    """

    first: AbstractDomain
    second: AbstractDomain

    def __init__(self, first: AbstractDomain, second: AbstractDomain):
        """**Raises:** `ValueError` if the dimensions differ or nothing is left."""
        self.first = first
        self.second = second
        _check(self)

    @property
    def reverses(self) -> bool:
        return True

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        return self.first.bounds

    def signed(self, x: Coords, xp: Module) -> Values:
        return xp.minimum(self.first.signed(x, xp), -self.second.signed(x, xp))

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return conjunction([self.first.level(x), -self.second.level(x)])

    def has_factor(self, names: tuple[str, ...]) -> bool:
        ours, theirs = _origin(self, names)
        _, all_theirs = _origin(self, self.names)
        # The level of the second domain vanishes on its whole boundary or not at all.
        return (not ours or self.first.has_factor(ours)) and (
            not theirs or set(theirs) == set(all_theirs)
        )

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        ours, theirs = _origin(self, names)
        value = self.first.factor(ours, x) if ours else jnp.ones((), x.dtype)
        if theirs:
            outside = -self.second.level(x)
            value = value * outside / (1.0 + jnp.maximum(outside, -0.5))  # at most one
        return value


def _check(domain: AbstractCombination) -> None:
    first, second = domain.first, domain.second
    sort = type(domain).__name__
    if not isinstance(second, AbstractDomain) or first.dim != second.dim:
        raise ValueError(
            f"`{sort}` needs two domains of the same dimension. "
            f"Got `{first}` and `{second}`. Use domains with as many axes each."
        )
    if first.dim == 1 or isinstance(first, SpaceTime) or isinstance(second, SpaceTime):
        raise ValueError(
            f"`{sort}` combines domains in space of two or more dimensions. "
            f"Got `{first}` and `{second}`. Combine in space, then multiply with time; "
            "in one dimension write the `Interval` itself."
        )
    if not _surviving_patches(domain):
        raise ValueError(
            f"`{sort}` is empty. Got `{first}` and `{second}`. "
            "Check that they overlap, and that neither covers the other wrongly."
        )


def _renamed(domain: AbstractCombination) -> list[tuple[str, str, bool]]:
    """`(name, original name, whether of the second domain)` of all parts."""
    result = [(name, name, False) for name in domain.first.names]
    taken = set(domain.first.names)
    for original in domain.second.names:
        name, number = original, 2
        while name in taken:
            name, number = f"{original}_{number}", number + 1
        taken.add(name)
        result.append((name, original, True))
    return result


def _origin(
    domain: AbstractCombination, names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The original names of parts, of the first and of the second domain."""
    rows = [row for row in _renamed(domain) if row[0] in names]
    ours = tuple(original for _, original, later in rows if not later)
    return ours, tuple(original for _, original, later in rows if later)


@functools.lru_cache(maxsize=256)
def _surviving_patches(domain: AbstractCombination) -> dict[str, AbstractPatch]:
    result: dict[str, AbstractPatch] = {}
    for name, original, later in _renamed(domain):
        own, other = domain.first, domain.second
        if later:
            own, other = other, own
        patch = own.patch((original,))
        left = (
            _cut(domain, patch, other, later)
            if domain.dim == 2
            else Remaining(patch, other, domain, later)
        )
        if left is not None and left.measure > 0:
            result[name] = left
    return result


def _cut(
    domain: AbstractCombination,
    patch: AbstractPatch,
    other: AbstractDomain,
    later: bool,
) -> Curves | None:
    lower, upper = domain.bounds
    size = float(np.max(upper - lower)) or 1.0
    pieces: list[Curve] = []
    for curve in _curves_of(patch):
        pieces += surviving(
            curve,
            lambda x: np.asarray(other.signed(x, np)),
            lambda x: np.asarray(domain.signed(x, np)),
            later,
            size,
        )
    if later and domain.reverses:
        pieces = [piece.reversed() for piece in pieces]
    return Curves(tuple(pieces)) if pieces else None


def _curves_of(patch: AbstractPatch) -> tuple[Curve, ...]:
    assert isinstance(patch, Curves | Faces | Sphere)  # all there are in the plane
    return patch.curves


def _all_curves(domain: AbstractCombination) -> tuple[Curve, ...]:
    patches = _surviving_patches(domain).values()
    return tuple(curve for patch in patches for curve in _curves_of(patch))


@functools.lru_cache(maxsize=256)
def _has_seam(union: Union) -> bool:
    """Whether the boundaries of both domains run along each other inside of the union."""
    lower, upper = union.bounds
    size = float(np.max(upper - lower))
    for one, other in ((union.first, union.second), (union.second, union.first)):
        patch = one.patch(one.names)
        points, _ = patch.rule(SEAM_POINTS)
        step = 1e-7 * size * patch.normals(points, np)
        shared = np.abs(np.asarray(other.signed(points, np))) <= 1e-12 * size
        sides = [np.asarray(union.signed(points + d, np)) > 0 for d in (step, -step)]
        if np.any(shared & sides[0] & sides[1]):
            return True
    return False


@functools.lru_cache(maxsize=256)
def _measure(domain: AbstractCombination) -> float:
    if domain.dim == 2:
        return enclosed_area(_all_curves(domain))
    lower, upper = domain.bounds
    points = lower + (upper - lower) * fixed()(2**16, domain.dim)
    share = float(np.mean(np.asarray(domain.signed(points, np)) > 0))
    return share * float(np.prod(upper - lower))


OPERATORS["union"] = Union
OPERATORS["intersection"] = Intersection
OPERATORS["difference"] = Difference
