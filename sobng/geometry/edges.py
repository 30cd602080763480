"""Smooth functions that vanish on edges of a polygon and are positive inside it."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence

import numpy as np

from sobng.geometry.curves import Curve
from sobng.geometry.namespace import Coords, Module, safe_root


# A product of many factors below one is flat inside; beyond this many edges they are
# combined like resistors in parallel instead.
PRODUCT_EDGES = 8


@dataclasses.dataclass(frozen=True)
class Line:
    """The distance from the line through an edge: positive where the domain is."""

    start: tuple[float, ...]
    stop: tuple[float, ...]

    def __call__(self, x: Coords, xp: Module):
        (ax, ay), (bx, by) = self.start, self.stop
        length = float(np.hypot(bx - ax, by - ay))
        # Relative to the nearer end nothing is lost to cancellation on the edge.
        return (x[..., 1] - ay) * ((bx - ax) / length) - (x[..., 0] - ax) * (
            (by - ay) / length
        )


@dataclasses.dataclass(frozen=True)
class Segment:
    r"""Zero on a segment only, positive elsewhere, with unit normal derivative.

    With the distance $f$ from the line, and $t = (L^2/4 - |x - c|^2) / L$ positive in
    the disk over the segment,

    $$\varphi = \sqrt{f^2 + \tfrac14 (\sqrt{t^2 + f^4} - t)^2}.$$

    Smooth except at the two ends.

    ??? cite "Reference"

        Sukumar, Srivastava: Exact imposition of boundary conditions with distance
        functions in physics-informed deep neural networks (CMAME 2022, arXiv
        2104.08426), Eq. (9). We write the root as `f` times a smooth function near the
        segment, where the root itself has no derivative.
    """

    start: tuple[float, ...]
    stop: tuple[float, ...]

    def __call__(self, x: Coords, xp: Module):
        (ax, ay), (bx, by) = self.start, self.stop
        length = float(np.hypot(bx - ax, by - ay))
        f = Line(self.start, self.stop)(x, xp)
        # On the far side of the line, within the domain, f is negative; rounding on
        # the edge itself must not flip the derivative.
        f = xp.where(f < -1e-4 * length, -f, f)
        dx, dy = x[..., 0] - 0.5 * (ax + bx), x[..., 1] - 0.5 * (ay + by)
        t = (0.25 * length**2 - dx**2 - dy**2) / length
        root = safe_root(t**2 + f**4 / length**2, xp)
        near = t > 0
        # (root - t) / 2 = f^4 / (2 (root + t)) for t > 0: then phi = f sqrt(1 + ...).
        total = xp.where(near, root + t, 1.0)
        inner = f * xp.sqrt(1.0 + (0.5 * f**3 / (length**2 * total)) ** 2)
        outer = safe_root(f**2 + (0.5 * (root - t)) ** 2, xp)
        return xp.where(near, inner, outer)


@dataclasses.dataclass(frozen=True)
class Either:
    """Positive where one of the lines is positive (R-disjunction)."""

    lines: tuple[Line, ...]

    def __call__(self, x: Coords, xp: Module):
        value = self.lines[0](x, xp)
        for line in self.lines[1:]:
            other = line(x, xp)
            value = value + other + safe_root(value**2 + other**2, xp)
        return value


@dataclasses.dataclass(frozen=True)
class Vanishing:
    """The functions of several edges as one, with maximum about one."""

    functions: tuple
    scale: float = 1.0

    def __call__(self, x: Coords, xp: Module):
        values = [function(x, xp) for function in self.functions]
        if len(values) <= PRODUCT_EDGES:
            return self.scale * functools.reduce(operator.mul, values)
        return self.scale * in_parallel(values, xp)


def in_parallel(values: Sequence, xp: Module):
    """`1 / (1/a + 1/b + ...)`, pair by pair."""
    return functools.reduce(lambda a, b: _parallel(a, b, xp), values)


def _parallel(a, b, xp: Module):
    total = a + b
    positive = total > 0
    return xp.where(positive, a * b / xp.where(positive, total, 1.0), 0.0)


def plan(
    curves: tuple[Curve, ...],
    sizes: tuple[int, ...],
    chosen: tuple[bool, ...],
    signed: Callable[[np.ndarray], np.ndarray],
) -> tuple:
    """The smoothest functions that vanish on the chosen edges.

    **Arguments:**

    - `curves`: all edges, ring after ring, with the domain to the left.
    - `sizes`: how many edges each ring has.
    - `chosen`: which edges are wanted.
    - `signed`: the signed distance at host points.
    """
    lines = [Line(curve.start, curve.stop) for curve in curves]
    corners = np.asarray([curve.start for curve in curves])
    reach = float(np.max(np.ptp(corners, axis=0)))
    left = {index for index, wanted in enumerate(chosen) if wanted}
    functions: list = []
    along = [_lying_on(line, curves, 1e-12 * reach) for line in lines]
    for index in sorted(left):
        # The domain lies on one side of the line: nothing is smoother than the line, once
        # for all edges on it. It vanishes on those that are not wanted, too.
        beside = np.min(lines[index](corners, np)) >= -1e-12 * reach
        if index in left and beside and along[index] <= left:
            functions.append(lines[index])
            left -= along[index]
    for ring in _rings(sizes)[1:]:
        if len(ring) <= 4 and left.issuperset(ring) and _is_convex(ring, curves):
            functions.append(Either(tuple(lines[index] for index in ring)))
            left.difference_update(ring)
    for one, two in _neighbours(sizes, curves):
        bent = _turn(curves[one], curves[two]) < 0
        alone = along[one] == {one} and along[two] == {two}
        if {one, two} <= left and bent and alone:
            # Both lines must leave the domain beyond the far ends of their edges.
            rays = (
                _ray(curves[one].stop, curves[one].start, reach),
                _ray(curves[two].start, curves[two].stop, reach),
            )
            if all(np.all(signed(ray) <= 1e-12 * reach) for ray in rays):
                functions.append(Either((lines[one], lines[two])))
                left -= {one, two}
    functions += [Segment(curves[i].start, curves[i].stop) for i in sorted(left)]
    return tuple(functions)


def _rings(sizes: tuple[int, ...]) -> list[list[int]]:
    offsets = np.cumsum([0, *sizes]).tolist()
    pairs = zip(offsets[:-1], offsets[1:], strict=True)
    return [list(range(low, high)) for low, high in pairs]


def _neighbours(sizes: tuple[int, ...], curves: tuple[Curve, ...]):
    """Pairs of edges of which the second starts where the first stops."""
    for ring in _rings(sizes):
        for one, two in zip(ring, ring[1:] + ring[:1], strict=True):
            if curves[one].stop == curves[two].start:
                yield one, two
            else:
                yield two, one


def _turn(one: Curve, two: Curve) -> float:
    (a, b), (c, d) = (np.subtract(e.stop, e.start) for e in (one, two))
    return float(a * d - b * c)


def _is_convex(ring: list[int], curves: tuple[Curve, ...]) -> bool:
    corners = np.asarray([curves[index].start for index in ring])
    reach = float(np.max(np.ptp(corners, axis=0)))
    return all(
        np.max(Line(curves[i].start, curves[i].stop)(corners, np)) <= 1e-12 * reach
        for i in ring
    )


def _lying_on(line: Line, curves: tuple[Curve, ...], tiny: float) -> set[int]:
    """The edges that lie on a line."""

    def lies(curve):
        return np.all(np.abs(line(np.asarray([curve.start, curve.stop]), np)) <= tiny)

    return {index for index, curve in enumerate(curves) if lies(curve)}


def _ray(near: tuple, far: tuple, reach: float) -> np.ndarray:
    """Points on the line beyond `far`, dense enough to meet the domain if it does."""
    along = np.subtract(far, near) / np.linalg.norm(np.subtract(far, near))
    steps = 2 * reach * np.linspace(1e-6, 1.0, 4000)
    return np.asarray(far) + steps[:, None] * along
