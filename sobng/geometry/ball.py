"""Disks and balls, whose boundary is a sphere."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from equinox import AbstractVar
from jaxtyping import Array, ArrayLike, Float
from scipy.special import ndtri, roots_jacobi, roots_legendre

from sobng.geometry.checks import as_number, as_point, check_radius, Coordinates
from sobng.geometry.curves import Curve
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.namespace import constant, Coords, Module, safe_root, Values
from sobng.geometry.patch import AbstractPatch
from sobng.geometry.quadrature import fixed, Points, Rule, tensor, Uniforms


class Sphere(AbstractPatch):
    """The sphere around a centre: the boundary of a ball.

    Its rules are the equidistant one on a circle (exact for trigonometric polynomials
    of degree below the number of points), Gauss in the height times equidistant in the
    angle in three dimensions, and Sobol points beyond.
    """

    centre: tuple[float, ...] = eqx.field(static=True)
    radius: float = eqx.field(static=True)

    @property
    def dim(self) -> int:
        return len(self.centre)

    @property
    def measure(self) -> float:
        return self.dim * _ball_volume(self.dim, 1.0) * self.radius ** (self.dim - 1)

    def rule(self, num: int) -> Rule:
        directions, weights = _directions(self.dim, num)
        return self._place(directions), weights * self.measure

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return self._place(
            _to_sphere(uniforms(num, _sphere_latent(self.dim)), self.dim)
        )

    def gaps(self, x: Coords, xp: Module) -> Values:
        return xp.abs(ball_distance(self.centre, self.radius, x, xp))

    def normals(self, x: Coords, xp: Module) -> Coords:
        offset = x - constant(self.centre, x, xp)
        return offset / xp.sqrt(xp.sum(offset**2, axis=-1, keepdims=True))

    def factor(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """Zero on the sphere, one at the centre."""
        # (R - r)(R + r) / R^2 without the root, which has no derivative at the centre.
        offset = (x - jnp.asarray(self.centre, x.dtype)) / self.radius
        return 1.0 - jnp.sum(offset**2)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The circle as an arc."""
        x, y = self.centre
        return (Curve((0.0,), (2 * math.pi,), (x, y), self.radius),)

    def _place(self, directions: Points) -> Points:
        return np.asarray(self.centre) + self.radius * directions


class AbstractBall(AbstractDomain):
    """What disks and balls share."""

    centre: AbstractVar[tuple[float, ...]]
    radius: AbstractVar[float]

    @property
    def dim(self) -> int:
        return len(self.centre)

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        centre = np.asarray(self.centre)
        return centre - self.radius, centre + self.radius

    @property
    def measure(self) -> float:
        return _ball_volume(self.dim, self.radius)

    def signed(self, x: Coords, xp: Module) -> Values:
        return ball_distance(self.centre, self.radius, x, xp)

    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        return self._sphere.factor(x)

    def rule(self, num: int) -> Rule:
        if self.dim > 3:
            return self.draw(num, fixed()), np.full(num, self.measure / num)
        radii, radial = _radial(self.dim, num)
        around = max(1, round(num / len(radii)))
        directions, angular = _directions(self.dim, around)
        polar, weights = tensor([(radii, radial), (directions, angular)])
        points = self._sphere.centre + self.radius * polar[:, :1] * polar[:, 1:]
        return points, weights * self.measure

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        unit = uniforms(num, 1 + _sphere_latent(self.dim))
        radii = unit[:, :1] ** (1.0 / self.dim)
        directions = _to_sphere(unit[:, 1:], self.dim)
        return np.asarray(self.centre) + self.radius * radii * directions

    def has_factor(self, names: tuple[str, ...]) -> bool:
        return True

    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        return self._sphere.factor(x)

    def patch(self, names: tuple[str, ...]) -> Sphere:
        return self._sphere

    @property
    def _sphere(self) -> Sphere:
        return Sphere(self.centre, self.radius)


class Disk(AbstractBall):
    """A disk in the plane; its boundary has the one part `circle`.

    !!! example

        ```python
        disk = sobng.Disk((0.0, 0.0), 1.0)
        points, weights = disk.interior.quadrature(200)  # polar Gauss, sums to pi
        ```
    """

    centre: tuple[float, ...] = eqx.field(static=True)
    radius: float = eqx.field(static=True)

    def __init__(self, centre: Coordinates, radius: ArrayLike):
        """**Arguments:**

        - `centre`: its centre, two numbers.
        - `radius`: its radius.

        **Raises:** `ValueError` unless `radius > 0` and the centre has two numbers.
        """
        self.centre = as_point(centre, "Disk", "centre")
        self.radius = as_number(radius, "Disk", "radius")
        check_radius(self.radius, "Disk")
        if len(self.centre) != 2:
            raise ValueError(
                f"`Disk` lies in the plane. Got a centre of {len(self.centre)} "
                "numbers. Give two, or use `Ball` in other dimensions."
            )

    @property
    def names(self) -> tuple[str, ...]:
        return ("circle",)


class Ball(AbstractBall):
    """A ball in two or more dimensions; its boundary has the one part `sphere`.

    !!! example

        ```python
        ball = sobng.Ball((0.0, 0.0, 0.0), 2.0)
        ball.boundary.normal(jnp.array([0.0, 2.0, 0.0]))  # [0., 1., 0.]
        ```
    """

    centre: tuple[float, ...] = eqx.field(static=True)
    radius: float = eqx.field(static=True)

    def __init__(self, centre: Coordinates, radius: ArrayLike):
        """**Arguments:**

        - `centre`: its centre, one number per axis.
        - `radius`: its radius.

        **Raises:** `ValueError` unless `radius > 0` and there are two axes or more.
        """
        self.centre = as_point(centre, "Ball", "centre")
        self.radius = as_number(radius, "Ball", "radius")
        check_radius(self.radius, "Ball")
        if len(self.centre) < 2:
            raise ValueError(
                "`Ball` needs two or more dimensions. Got a centre of one number. "
                "Use `Interval(centre - radius, centre + radius)`."
            )

    @property
    def names(self) -> tuple[str, ...]:
        return ("sphere",)


def ball_distance(
    centre: tuple[float, ...], radius: float, x: Coords, xp: Module
) -> Values:
    """The signed Euclidean distance to a sphere, positive inside."""
    squares = xp.sum((x - constant(centre, x, xp)) ** 2, axis=-1)
    return radius - safe_root(squares, xp)


def _ball_volume(dim: int, radius: float) -> float:
    return math.pi ** (dim / 2) / math.gamma(dim / 2 + 1) * radius**dim


def _radial(dim: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes on (0, 1) for the density `dim r^(dim - 1)`.

    In 2-D in s = r^2 (Legendre), since even powers of r are what a smooth function
    leaves after the average over the angle; in 3-D Gauss-Jacobi in r.
    """
    # `k` nodes see degree 2 k (3-D) or 4 k (2-D); directions of about twice as many
    # points per axis see the same degree.
    if dim == 2:
        k = max(1, round(math.sqrt(num / 4)))
        nodes, weights = roots_legendre(k)
        return np.sqrt(0.5 * (1 + nodes)), 0.5 * weights
    k = max(1, round((num / 2) ** (1 / 3)))
    nodes, weights = roots_jacobi(k, 0.0, 2.0)
    return 0.5 * (1 + nodes), weights / np.sum(weights)


def _directions(dim: int, num: int) -> Rule:
    """Unit vectors and weights that sum to one."""
    if dim == 2:
        return _on_circle(num), np.full(num, 1.0 / num)
    if dim == 3:
        heights = max(1, round(math.sqrt(num / 2)))
        return _on_sphere(heights, max(1, round(num / heights)))
    return _to_sphere(fixed()(num, _sphere_latent(dim)), dim), np.full(num, 1.0 / num)


def _on_circle(num: int) -> Points:
    angles = 2 * np.pi * (np.arange(num) + 0.5) / num
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _on_sphere(heights: int, around: int) -> Rule:
    nodes, weights = np.polynomial.legendre.leggauss(heights)
    circle = _on_circle(around)
    height = np.repeat(nodes, around)[:, None]
    flat = np.tile(circle, (heights, 1)) * np.sqrt(1 - height**2)
    return np.concatenate([flat, height], axis=1), np.repeat(weights, around) / (
        2.0 * around
    )


def _sphere_latent(dim: int) -> int:
    return dim - 1 if dim <= 3 else dim


def _to_sphere(unit: Float[np.ndarray, "n latent"], dim: int) -> Points:
    """Maps uniform points of the cube to uniform directions."""
    if dim <= 3:
        angles = 2 * np.pi * unit[:, 0]
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if dim == 2:
            return circle
        height = 2 * unit[:, 1:] - 1
        return np.concatenate([circle * np.sqrt(1 - height**2), height], axis=1)
    normals = ndtri(np.clip(unit, 1e-12, 1 - 1e-12))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
