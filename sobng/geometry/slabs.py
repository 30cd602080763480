"""Exact rules for domains in the plane between segments and arcs."""

import math

import numpy as np

from sobng.geometry.curves import Curve
from sobng.geometry.patch import concatenate
from sobng.geometry.quadrature import counts, gauss, Rule


def enclosed_area(curves: tuple[Curve, ...]) -> float:
    """The area to the left of closed curves."""
    return math.fsum(curve.swept() for curve in curves)


def slab_rule(curves: tuple[Curve, ...], num: int) -> Rule:
    r"""Gauss points between closed curves.

    The plane is cut by vertical lines through all corners. In each slab the domain is a
    stack of cells $\{a < x < b,\; f(x) < y < g(x)\}$ with smooth $f$ and $g$, and each
    cell gets a Gauss rule in $y$ along a Gauss rule in $x$. Between segments this is
    exact for polynomials; between arcs it converges exponentially.

    **Arguments:**

    - `curves`: the boundary, with the domain to the left.
    - `num`: about how many points.
    """
    total = enclosed_area(curves)
    cells = _cells(tuple(piece for curve in curves for piece in _monotone(curve)))
    # Small cells beside an arc need their share of nodes whatever their area.
    least = round(0.7 * math.sqrt(num / len(cells)))
    rules = [
        _cell_rule(*cell, density=0.7 * num / total, least=least) for cell in cells
    ]
    points, weights = concatenate(rules)
    # Arcs are not integrated to the last digit: the sum is put right.
    return points, weights * (total / math.fsum(weights))


def _monotone(curve: Curve) -> list[Curve]:
    """Pieces on which x grows or falls; vertical segments are dropped."""
    if not curve.radius:
        return [] if curve.start[0] == curve.stop[0] else [curve]
    low, high = sorted((curve.start[0], curve.stop[0]))
    turns = [
        k * math.pi
        for k in range(math.floor(low / math.pi), math.ceil(high / math.pi) + 1)
        if low + 1e-12 < k * math.pi < high - 1e-12
    ]
    angles = [low, *turns, high]
    pieces = [
        Curve((a,), (b,), curve.centre, curve.radius)
        for a, b in zip(angles[:-1], angles[1:], strict=True)
    ]
    return pieces if curve.turn > 0 else [piece.reversed() for piece in pieces]


def _cells(curves: tuple[Curve, ...]) -> list[tuple[float, float, Curve, Curve]]:
    """`(a, b, lower, upper)` for each cell."""
    spans = [tuple(sorted(curve.at(np.array([0.0, 1.0]))[:, 0])) for curve in curves]
    corners = np.unique(np.asarray(spans))
    tiny = 1e-11 * (corners[-1] - corners[0])
    corners = corners[np.diff(corners, prepend=-np.inf) > tiny]
    cells = []
    for a, b in zip(corners[:-1], corners[1:], strict=True):
        middle = 0.5 * (a + b)
        across = [
            curve
            for curve, (low, high) in zip(curves, spans, strict=True)
            if low < middle < high
        ]
        across.sort(key=lambda curve: float(_height(curve, np.array([middle]))[0]))
        pairs = zip(across[::2], across[1::2], strict=True)
        cells += [(float(a), float(b), lower, upper) for lower, upper in pairs]
    return cells


def _cell_rule(
    a: float, b: float, lower: Curve, upper: Curve, density: float, least: int
) -> Rule:
    middle = np.array([0.5 * (a + b)])
    height = float((_height(upper, middle) - _height(lower, middle))[0])
    sides = [b - a, max(height, 1e-3 * (b - a))]
    across, along = counts(sides, max(1, round(density * sides[0] * sides[1])))
    across, along = max(2, least, across), max(2, least // 2, along)
    x, wx = _graded(a, b, across, _is_steep(a, b, lower, upper))
    low, high = _height(lower, x), _height(upper, x)
    unit, wy = gauss(0.0, 1.0, along)
    y = low[:, None] + (high - low)[:, None] * unit
    weights = (wx * (high - low))[:, None] * wy
    points = np.stack([np.repeat(x, len(unit)), y.ravel()], axis=1)
    return points, np.maximum(weights.ravel(), 0.0)


def _graded(a: float, b: float, num: int, steep: bool):
    """Gauss nodes; next to vertical tangents, in an angle that removes the root."""
    if not steep:
        return gauss(a, b, num)
    angle, weights = gauss(0.0, math.pi, num)
    half = 0.5 * (b - a)
    return a + half * (1 - np.cos(angle)), weights * half * np.sin(angle)


def _is_steep(a: float, b: float, *curves: Curve) -> bool:
    return any(
        min(abs(abs(end - curve.centre[0]) - curve.radius) for end in (a, b))
        < 0.1 * curve.radius
        for curve in curves
        if curve.radius
    )


def _height(curve: Curve, x: np.ndarray) -> np.ndarray:
    """The y of a monotone curve at each x."""
    if curve.radius:
        middle = 0.5 * (curve.start[0] + curve.stop[0])
        depth = np.maximum(curve.radius**2 - (x - curve.centre[0]) ** 2, 0.0)
        return curve.centre[1] + math.copysign(1.0, math.sin(middle)) * np.sqrt(depth)
    (ax, ay), (bx, by) = curve.start, curve.stop
    return ((bx - x) * ay + (x - ax) * by) / (bx - ax)
