"""Closed outlines of polygons and what is wrong with them."""

from typing import TypeAlias

import numpy as np


Ring: TypeAlias = tuple[tuple[float, ...], ...]


def ring_area(ring: Ring) -> float:
    """The area inside, positive if the corners run anticlockwise."""
    x, y = (np.asarray(ring) - np.asarray(ring[0])).T  # near zero, against cancellation
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def check_rings(rings: tuple[Ring, ...]) -> None:
    """**Raises:** `ValueError` unless the first ring holds the others, all simple."""
    for ring in rings:
        _check_corners(ring)
    starts = np.concatenate([np.asarray(ring) for ring in rings])
    stops = np.concatenate([np.roll(np.asarray(ring), -1, axis=0) for ring in rings])
    first, second = np.nonzero(np.triu(_touching(starts, stops, rings), k=1))
    if len(first):
        raise ValueError(
            "The outline of a `Polygon` crosses or touches itself or another. "
            f"Got the edges {_shown(starts, stops, int(first[0]))} and "
            f"{_shown(starts, stops, int(second[0]))}. Reorder or move their vertices."
        )
    for index, hole in enumerate(rings[1:]):
        others = [ring for j, ring in enumerate(rings[1:]) if j != index]
        if not _holds(rings[0], hole[0]) or any(_holds(o, hole[0]) for o in others):
            raise ValueError(
                "A hole of a `Polygon` must lie inside the outline and outside the "
                f"other holes. Got hole {index} with the vertex {hole[0]}. "
                "Move or drop it."
            )


def _check_corners(ring: Ring) -> None:
    if len(ring) < 3 or any(len(corner) != 2 for corner in ring):
        raise ValueError(
            "`Polygon` needs three or more vertices of two numbers each. "
            f"Got {ring}. Write `[(x, y), ...]`."
        )
    corners = np.asarray(ring)
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    if np.min(lengths) == 0:
        raise ValueError(
            "`Polygon` has an edge of length zero. "
            f"Got the vertices {ring}. Do not repeat a vertex, not even the first one "
            "at the end."
        )


def _touching(starts: np.ndarray, stops: np.ndarray, rings: tuple[Ring, ...]):
    """Which pairs of edges meet elsewhere than at a shared vertex."""
    a, b = starts[:, None], stops[:, None]
    c, d = starts[None], stops[None]
    tiny = 1e-14 * np.ptp(starts, axis=0).max() ** 2

    def side(p, q, r):
        cross = (q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]
        return np.where(np.abs(cross) <= tiny, 0, np.sign(cross))

    def within(p, q, r):
        return np.all((np.minimum(p, q) <= r) & (r <= np.maximum(p, q)), axis=-1)

    sides = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    meet = (sides[0] * sides[1] < 0) & (sides[2] * sides[3] < 0)
    for touch, (p, q, r) in zip(
        sides, ((a, b, c), (a, b, d), (c, d, a), (c, d, b)), strict=True
    ):
        meet |= (touch == 0) & within(p, q, r)
    # Neighbours share a vertex; they must not fold back onto each other.
    offset = 0
    for ring in rings:
        for i in range(len(ring)):
            j = offset + (i + 1) % len(ring)
            one, two = stops[offset + i] - starts[offset + i], stops[j] - starts[j]
            cross = one[0] * two[1] - one[1] * two[0]
            folded = bool(abs(cross) <= tiny and one @ two < 0)
            meet[offset + i, j] = meet[j, offset + i] = folded
        offset += len(ring)
    return meet


def _holds(ring: Ring, point: tuple[float, ...]) -> bool:
    inside = False
    for (ax, ay), (bx, by) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if (ay > point[1]) != (by > point[1]):
            crossing = ax + (point[1] - ay) / (by - ay) * (bx - ax)
            inside ^= point[0] < crossing
    return inside


def _shown(starts: np.ndarray, stops: np.ndarray, index: int) -> str:
    return f"{tuple(starts[index].tolist())} to {tuple(stops[index].tolist())}"
