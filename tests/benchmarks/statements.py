"""What is solved, said once for all methods, in arithmetic that any array library does.

A coordinate, a slope and a second derivative are items of sequences, so that they may be
numbers, NumPy arrays, traced JAX arrays or tensors; `xp` is the library they belong to.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import qmc


@dataclasses.dataclass(frozen=True)
class Statement:
    """A problem on a box, and what every method is given for it."""

    title: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    faces: tuple[tuple[int, int], ...]
    """Where values are given: an axis, and 0 for its lower or 1 for its upper end."""
    equation: Callable
    """`equation(xp, x, u, du, ddu)`, zero for the solution."""
    data: Callable
    """`data(xp, x)`, the values on the faces."""
    layers: tuple[int, ...]
    """The tanh network of those who do not choose one."""
    points: tuple[int, int]
    """How many points those who do not choose get, inside and on the faces together."""
    exact: Callable | None = None
    """`exact(xp, x)`, NumPy only; `None` where the data are the solution everywhere."""
    factor: Callable | None = None
    """`factor(xp, x)`, zero on the faces. With it the boundary is exact: the unknown is
    the network times the factor, and the data are zero."""
    linear: bool = True
    goal: float = 1e-6
    """The relative error that counts as success."""

    def source(self, x) -> Any:
        """What the equation leaves of zero at coordinates `x`."""
        zero = np.zeros(self.dim)
        return self.equation(np, x, 0.0, zero, zero)

    def coefficients(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Those of a linear equation, all constant: of the value, slopes and second
        derivatives."""
        middle, axes = np.mean([self.lower, self.upper], axis=0), np.eye(self.dim)
        zero = np.zeros(self.dim)

        def change(*jet):
            return self.equation(np, middle, *jet) - self.source(middle)

        slopes = np.array([change(0.0, axis, zero) for axis in axes])
        seconds = np.array([change(0.0, zero, axis) for axis in axes])
        return change(1.0, zero, zero), slopes, seconds

    @property
    def dim(self) -> int:
        return len(self.lower)

    def solution(self, points: np.ndarray) -> np.ndarray:
        """The solution at points `[n, dim]`."""
        return (self.exact or self.data)(np, points.T)

    def inside(self, num: int, seed: int) -> np.ndarray:
        """Scrambled Sobol points `[num, dim]` of the box."""
        engine = qmc.Sobol(self.dim, rng=np.random.default_rng(seed))
        unit = engine.random_base2(int(np.ceil(np.log2(num))))[:num]
        return qmc.scale(unit, self.lower, self.upper)

    def training(self, seed: int, points=None) -> tuple[np.ndarray, np.ndarray]:
        """Points of the interior and of the faces, equally many on each face."""
        inside, outside = points or self.points
        on = []
        for number, (axis, side) in enumerate(self.faces):
            points = self.inside(outside // len(self.faces), [seed, 1 + number])
            points[:, axis] = (self.lower, self.upper)[side][axis]
            on.append(points)
        return self.inside(inside, [seed, 0]), np.concatenate(on)

    def evaluation(self) -> np.ndarray:
        """Where all errors are measured: the same points for every method and seed."""
        random = np.random.default_rng(20_231_123)
        return random.uniform(self.lower, self.upper, (5000, self.dim))


def all_faces(dim: int) -> tuple[tuple[int, int], ...]:
    return tuple((axis, side) for axis in range(dim) for side in (0, 1))


CYLINDER = ((0, 0), (1, 0), (1, 1))
"""The faces of space-time (t, x) that carry data: the start and both walls."""


def _sines(xp, x):
    return xp.sin(np.pi * x[0]) * xp.sin(np.pi * x[1])


def _poisson_2d(xp, x, u, du, ddu):
    return ddu[0] + ddu[1] + 2 * np.pi**2 * _sines(xp, x)


def _bubble(xp, x):
    return x[0] * (1 - x[0]) * x[1] * (1 - x[1])


def _heat(xp, x, u, du, ddu):
    return du[0] - ddu[1] / 4


def _heat_solution(xp, x):
    return xp.exp(-(np.pi**2) / 4 * x[0]) * xp.sin(np.pi * x[1])


def _cosines(xp, x):
    return sum(xp.cos(np.pi * x[i]) for i in range(5))


def _poisson_5d(xp, x, u, du, ddu):
    return sum(ddu[i] for i in range(5)) + np.pi**2 * _cosines(xp, x)


def _waves(xp, x):
    return xp.sin(np.pi * x[0]) * xp.sin(4 * np.pi * x[1])


def _helmholtz(xp, x, u, du, ddu):
    return ddu[0] + ddu[1] + u - (1 - 17 * np.pi**2) * _waves(xp, x)


VISCOSITY = 0.01 / np.pi


def _burgers(xp, x, u, du, ddu):
    return du[0] + u * du[1] - VISCOSITY * ddu[1]


def _burgers_data(xp, x):
    return -xp.sin(np.pi * x[1])


def _burgers_solution(xp, x, nodes=800):
    """The formula of Cole and Hopf; the trapezoidal rule converges exponentially."""
    z = np.linspace(-12.0, 12.0, nodes)
    y = x[1][:, None] - 2 * np.sqrt(VISCOSITY * x[0])[:, None] * z
    # Relative to the largest: nothing overflows, and the rest may vanish.
    heat = np.exp(-(1 + np.cos(np.pi * y)) / (2 * np.pi * VISCOSITY) - z**2)
    return -np.sum(np.sin(np.pi * y) * heat, axis=1) / np.sum(heat, axis=1)


SQUARE = {"lower": (0.0, 0.0), "upper": (1.0, 1.0)}
POISSON = {
    **SQUARE,
    "faces": all_faces(2),
    "equation": _poisson_2d,
    "data": _sines,
    "layers": (2, 20, 20, 1),
    "points": (1024, 256),
}

STATEMENTS = {
    "poisson_2d": Statement(
        "Poisson in two dimensions, the boundary as a penalty", **POISSON
    ),
    "poisson_2d_exact": Statement(
        "Poisson in two dimensions, the boundary exact", factor=_bubble, **POISSON
    ),
    "heat_1d": Statement(
        "The heat equation in space-time",
        **SQUARE,
        faces=CYLINDER,
        equation=_heat,
        data=_heat_solution,
        layers=(2, 20, 20, 1),
        points=(1024, 256),
    ),
    "helmholtz_2d": Statement(
        "Helmholtz, half waves (1, 4)",
        (-1.0, -1.0),
        (1.0, 1.0),
        faces=all_faces(2),
        equation=_helmholtz,
        data=_waves,
        layers=(2, 24, 24, 24, 1),
        points=(2048, 400),
    ),
    "poisson_5d": Statement(
        "Poisson in five dimensions, a sum of cosines",
        (0.0,) * 5,
        (1.0,) * 5,
        faces=all_faces(5),
        equation=_poisson_5d,
        data=_cosines,
        layers=(5, 24, 24, 1),
        points=(3000, 500),
    ),
    "burgers_1d": Statement(
        "Burgers in space-time, viscosity 0.01/π",
        (0.0, -1.0),
        (1.0, 1.0),
        faces=CYLINDER,
        equation=_burgers,
        data=_burgers_data,
        exact=_burgers_solution,
        layers=(2, 20, 20, 20, 1),
        points=(2048, 512),
        linear=False,
        goal=1e-3,
    ),
}
