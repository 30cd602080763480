"""What survives of boundaries when domains are united, intersected or subtracted."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from sobng.geometry.curves import Curve
from sobng.geometry.namespace import Coords, Module, Values
from sobng.geometry.patch import AbstractPatch
from sobng.geometry.quadrature import accepted, fixed, Points, Rule, Uniforms


Signed = Callable[[np.ndarray], np.ndarray]


def surviving(
    curve: Curve, other: Signed, whole: Signed, later: bool, size: float
) -> list[Curve]:
    """The pieces of a boundary curve that bound the combination too.

    **Arguments:**

    - `curve`: with its own domain to the left.
    - `other`: the signed distance of the other domain.
    - `whole`: the signed distance of the combination.
    - `later`: whether the curve belongs to the second domain: where two boundaries
        coincide only the first counts.
    - `size`: the length scale.
    """
    # The curve is cut where it enters, leaves, or starts to run along the other
    # boundary, then each piece is asked at its middle.
    cuts = _cuts(lambda t: _state(other(curve.at(t)), 1e-13 * size))
    pieces = [
        (low, high)
        for low, high in zip(cuts[:-1], cuts[1:], strict=True)
        if (high - low) * curve.length > 1e-11 * size
    ]
    kept: list[Curve] = []
    previous = None
    for low, high in pieces:
        middle = np.array([0.5 * (low + high)])
        x, step = curve.at(middle), 1e-7 * size * curve.outward(middle)
        shared = abs(float(other(x)[0])) <= 1e-12 * size
        inner, outer = float(whole(x - step)[0]), float(whole(x + step)[0])
        if inner * outer < 0 and not (shared and later):
            start = previous[0] if previous and previous[1] == low else low
            if start != low:
                kept.pop()  # one piece with the last: the cut between them is no corner
            kept.append(curve.piece(start, high))
            previous = (start, high)
    return kept


def _state(values: np.ndarray, tiny: float) -> np.ndarray:
    return np.where(np.abs(values) <= tiny, 0, np.sign(values)).astype(int)


def _cuts(state: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Parameters at which the state changes, with both ends."""
    # An odd number that is no multiple of common fractions.
    t = np.linspace(0.0, 1.0, 1013)
    states = state(t)
    changes = np.flatnonzero(states[1:] != states[:-1])
    low, high = t[changes], t[changes + 1]
    for _ in range(52):
        middle = 0.5 * (low + high)
        same = state(middle) == states[changes] if len(middle) else np.zeros(0, bool)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [0.0, *(0.5 * (low + high)).tolist(), 1.0]


class Remaining(AbstractPatch):
    """The part of a patch that bounds a combination, in three or more dimensions.

    Points come by rejection, so rules converge like Sobol points and the measure is
    known to about four digits.
    """

    base: AbstractPatch
    other: Any  # an `AbstractDomain`
    whole: Any  # an `AbstractCombination`, whose file imports this one
    later: bool = eqx.field(static=True)

    @property
    def dim(self) -> int:
        return self.base.dim

    @property
    def measure(self) -> float:
        points = self.base.draw(2**15, fixed())
        return self.base.measure * float(np.mean(self._keeps(points)))

    def rule(self, num: int) -> Rule:
        return self.draw(num, fixed()), np.full(num, self.measure / num)

    def draw(self, num: int, uniforms: Uniforms) -> Points:
        return accepted(
            lambda n: self.base.draw(n, uniforms), self._keeps, num, "A boundary part"
        )

    def gaps(self, x: Coords, xp: Module) -> Values:
        # Points where the base lies outside the combination are not on this patch.
        own = self.base.gaps(x, xp)
        return xp.maximum(own, xp.abs(self.whole.signed(x, xp)))

    def normals(self, x: Coords, xp: Module) -> Coords:
        return self._direction * self.base.normals(x, xp)

    @property
    def _direction(self) -> float:
        return -1.0 if self.later and self.whole.reverses else 1.0

    def _keeps(self, points: Points) -> np.ndarray:
        lower, upper = self.whole.bounds
        size = float(np.max(upper - lower))
        step = 1e-7 * size * self.base.normals(points, np)
        inner = np.asarray(self.whole.signed(points - step, np))
        outer = np.asarray(self.whole.signed(points + step, np))
        shared = np.abs(np.asarray(self.other.signed(points, np))) <= 1e-12 * size
        return (inner * outer < 0) & ~(shared & self.later)
