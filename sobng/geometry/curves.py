"""Segments and arcs: the boundaries of domains in the plane."""

import equinox as eqx
import numpy as np

from sobng.geometry.namespace import constant, Coords, Module, safe_root, Values
from sobng.geometry.patch import AbstractPatch, choose, concatenate
from sobng.geometry.quadrature import gauss, Points, Rule, split, Uniforms


class Curve(eqx.Module):
    """A segment (`radius` zero) or an arc, with the domain to the left.

    A segment runs from `start` to `stop`, two points. An arc runs around `centre` from
    the angle `start[0]` to the angle `stop[0]`; backwards if the domain is outside.
    """

    start: tuple[float, ...] = eqx.field(static=True)
    stop: tuple[float, ...] = eqx.field(static=True)
    centre: tuple[float, float] = eqx.field(static=True, default=(0.0, 0.0))
    radius: float = eqx.field(static=True, default=0.0)

    @property
    def length(self) -> float:
        span = float(np.linalg.norm(np.subtract(self.stop, self.start)))
        return span * self.radius if self.radius else span

    @property
    def turn(self) -> float:
        """Minus one for an arc that runs clockwise, else one."""
        return -1.0 if self.radius and self.stop[0] < self.start[0] else 1.0

    def at(self, t: np.ndarray) -> Points:
        """Points at parameters in [0, 1], proportional to arc length."""
        start, stop = np.asarray(self.start), np.asarray(self.stop)
        # Written so that both ends are hit exactly.
        values = (1 - t)[:, None] * start + t[:, None] * stop
        if not self.radius:
            return values
        unit = np.concatenate([np.cos(values), np.sin(values)], axis=1)
        return np.asarray(self.centre) + self.radius * unit

    def outward(self, t: np.ndarray) -> Points:
        """Unit normals at parameters in [0, 1]."""
        if self.radius:
            return self.turn * (self.at(t) - np.asarray(self.centre)) / self.radius
        along = np.subtract(self.stop, self.start) / self.length
        return np.tile([along[1], -along[0]], (len(t), 1))

    def piece(self, low: float, high: float) -> "Curve":
        """The part between two parameters."""
        start, stop = np.asarray(self.start), np.asarray(self.stop)
        ends = [tuple(((1 - t) * start + t * stop).tolist()) for t in (low, high)]
        return Curve(ends[0], ends[1], self.centre, self.radius)

    def reversed(self) -> "Curve":
        """The same points with the domain on the other side."""
        return Curve(self.stop, self.start, self.centre, self.radius)

    def swept(self) -> float:
        """Its share of the area that it helps to enclose (Green's theorem)."""
        if not self.radius:
            (ax, ay), (bx, by) = self.start, self.stop
            return 0.5 * (ax * by - ay * bx)
        (low,), (high,), (x, y) = self.start, self.stop, self.centre
        chord = x * (np.sin(high) - np.sin(low)) - y * (np.cos(high) - np.cos(low))
        return float(0.5 * self.radius * (self.radius * (high - low) + chord))


class Curves(AbstractPatch):
    """Several curves as a patch."""

    curves: tuple[Curve, ...]

    @property
    def dim(self) -> int:
        return 2

    @property
    def measure(self) -> float:
        return float(sum(curve.length for curve in self.curves))

    def rule(self, num: int) -> Rule:
        nums = split(num, [curve.length for curve in self.curves])
        return concatenate(
            [_rule(c, n) for c, n in zip(self.curves, nums, strict=True)]
        )

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        unit = uniforms(num, 1)[:, 0]
        choice, unit = choose(unit, [curve.length for curve in self.curves])
        points = np.empty((num, 2))
        for index, curve in enumerate(self.curves):
            points[choice == index] = curve.at(unit[choice == index])
        return points

    def gaps(self, x: Coords, xp: Module) -> Values:
        return xp.min(self._all_gaps(x, xp), axis=-1)

    def normals(self, x: Coords, xp: Module) -> Coords:
        nearest = xp.argmin(self._all_gaps(x, xp), axis=-1)
        half = np.full(1, 0.5)
        straight = np.concatenate([curve.outward(half) for curve in self._ordered])
        centres = constant([curve.centre for curve in self._ordered], x, xp)[nearest]
        turns = constant([[curve.turn] for curve in self._ordered], x, xp)[nearest]
        round_ = constant([[float(c.radius > 0)] for c in self._ordered], x, xp)
        offset = x - centres
        radii = safe_root(xp.sum(offset**2, axis=-1, keepdims=True), xp)
        radial = turns * offset / xp.where(radii > 0, radii, 1.0)
        return xp.where(round_[nearest] > 0, radial, constant(straight, x, xp)[nearest])

    @property
    def _ordered(self) -> list[Curve]:
        return sorted(self.curves, key=lambda curve: curve.radius > 0)

    def _all_gaps(self, x: Coords, xp: Module):
        straight = [curve for curve in self.curves if not curve.radius]
        arcs = [curve for curve in self.curves if curve.radius]
        gaps = []
        if straight:
            starts = constant([curve.start for curve in straight], x, xp)
            stops = constant([curve.stop for curve in straight], x, xp)
            gaps.append(segment_gaps(x, starts, stops, xp))
        if arcs:
            gaps.append(_arc_gaps(x, arcs, xp))
        return xp.concatenate(gaps, axis=-1)


def segment_gaps(x: Coords, starts, stops, xp: Module):
    """The distances `[..., k]` to `k` segments."""
    along = stops - starts
    offset = x[..., None, :] - _batched(starts, x)
    lengths = xp.sum(along**2, axis=-1)
    t = xp.sum(offset * _batched(along, x), axis=-1) / _batched(lengths, x[..., 0])
    t = xp.clip(t, 0.0, 1.0)
    gap = offset - t[..., None] * _batched(along, x)
    return safe_root(xp.sum(gap**2, axis=-1), xp)


def _arc_gaps(x: Coords, arcs: list[Curve], xp: Module):
    """The distances `[..., k]` to `k` arcs."""
    centres = constant([arc.centre for arc in arcs], x, xp)
    radii = constant([arc.radius for arc in arcs], x, xp)
    middles = [0.5 * (arc.start[0] + arc.stop[0]) for arc in arcs]
    halves = [0.5 * abs(arc.stop[0] - arc.start[0]) for arc in arcs]
    offset = x[..., None, :] - _batched(centres, x)
    # In the frame whose first axis points to the middle of the arc, the nearest point
    # of the arc has the angle of x, clipped to the half angle.
    cos, sin = constant(np.cos(middles), x, xp), constant(np.sin(middles), x, xp)
    cos, sin = _batched(cos, x[..., 0]), _batched(sin, x[..., 0])
    ahead = offset[..., 0] * cos + offset[..., 1] * sin
    aside = offset[..., 1] * cos - offset[..., 0] * sin
    distance = safe_root(ahead**2 + aside**2, xp)
    on_centre = distance == 0
    angle = xp.abs(xp.arctan2(aside, xp.where(on_centre, 1.0, ahead)))
    half = _batched(constant(halves, x, xp), x[..., 0])
    radius = _batched(radii, x[..., 0])
    excess = xp.maximum(angle - half, 0.0)
    # The law of cosines, without its cancellation near the arc.
    chord = 4.0 * distance * radius * xp.sin(0.5 * excess) ** 2
    return xp.where(
        excess > 0,
        safe_root((distance - radius) ** 2 + chord, xp),
        xp.abs(distance - radius),
    )


def _batched(values, like):
    """Leading axes of length one, as strict rank promotion wants them."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def _rule(curve: Curve, num: int) -> Rule:
    if curve.radius and abs(curve.stop[0] - curve.start[0]) >= 2 * np.pi * (1 - 1e-12):
        # Equidistant points on a closed circle are exact for trigonometric
        # polynomials of degree below `num`: twice as good as Gauss.
        t, weights = (np.arange(num) + 0.5) / num, np.full(num, 1.0 / num)
    else:
        t, weights = gauss(0.0, 1.0, num)
    return curve.at(t), weights * curve.length
