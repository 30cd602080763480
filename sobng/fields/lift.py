"""Boundary values of a box, extended into it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sobng.fields.partition import Frozen
from sobng.fields.scaled import UnitCell
from sobng.typing import Point, Value


_MAX_TERMS = 1000


class BoxLift(eqx.Module):
    r"""Transfinite interpolation of values on the faces of an axis-aligned box.

    With the operator $P_i$ that interpolates linearly between the two faces of axis $i$
    (or extends the only one that has data as a constant), the lift is the Boolean sum
    $1 - \prod_i (1 - P_i)$ applied to the data. It evaluates data **only on the faces**
    and takes their values exactly, on every face, where they agree at the edges.
    Otherwise only the last axis that has data other than zero is exact, on the faces that
    have them, and faces of zero may not be; [`sobng.BoxLift.defect`][] says how far the
    data disagree.

    Faces with the constant zero cost nothing. Else the cost is up to $3^k - 1$
    evaluations for $k$ axes with data: beyond six axes use [`sobng.PolynomialLift`][].

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        wall = lambda x: jnp.sin(x[0]) * x[1]
        faces = {(axis, side): wall for axis in (0, 1) for side in (0, 1)}
        lift = sn.BoxLift((0.0, 0.0), (1.0, 2.0), faces)
        lift(jnp.array([1.0, 0.5]))    # sin(1) / 2
        ```

    ??? cite "Reference"

        Gordon, Hall: Transfinite element methods (Numer. Math. 1973).
    """

    cell: UnitCell
    values: tuple[Frozen | None, ...]  # one for each face; `None` for the constant zero
    faces: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        faces: Mapping[tuple[int, int], Any],
        *,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `lower`, `upper`: opposite corners of the box.
        - `faces`: by `(axis, side)`, with side 0 below and 1 above, the value there: a
          function of one point, a number or an array `(out,)`. A face that is left out,
          or `None`, has no condition.
        - `dtype`: the precision of the corners; by default the session's.

        **Raises:** `ValueError` if a face does not exist, or there are too many to
        combine.
        """
        self.cell = UnitCell(lower, upper, dtype=dtype)
        dim = self.cell.lower.value.shape[0]
        given = {face: v for face, v in sorted(faces.items()) if v is not None}
        for axis, side in given:
            if not (0 <= axis < dim and side in (0, 1)):
                raise ValueError(
                    f"A box of dimension {dim} has faces `(axis, side)` with axes from "
                    f"0 to {dim - 1} and sides 0 and 1. Got `{(axis, side)}`. Drop it."
                )
        self.faces = tuple(given)
        self.values = tuple(
            _hold(v, self.cell.lower.value.dtype) for v in given.values()
        )
        active = [
            f for f, v in zip(self.faces, self.values, strict=True) if v is not None
        ]
        num = _count(active)
        if num > _MAX_TERMS:
            raise ValueError(
                "`BoxLift` combines the values of all faces that meet. Got "
                f"{num} combinations of {len(active)} faces with non-zero values. Use "
                "`PolynomialLift`."
            )

    def __call__(self, x: Point) -> Value:
        """The lift at one point of the box; `()` if all values are zero."""
        lower = self.cell.lower.value.astype(x.dtype)
        upper = self.cell.upper.value.astype(x.dtype)
        height = ((x - lower) / (upper - lower))[None]
        total = jnp.zeros((), x.dtype)
        for value, subsets in self._terms():
            fixed, above, signs = _masks(subsets, x.shape[0])
            # Linear between two faces; one, that is constant, where only one has data.
            blend = jnp.where(above, height, 1 - height)
            blend = jnp.where(fixed & self._paired(x.shape[0]), blend, 1)
            weights = jnp.asarray(signs, x.dtype) * _product(blend)
            if not callable(value):
                total = total + jnp.sum(weights) * value.astype(x.dtype)
                continue
            corner = jnp.where(above, upper[None], lower[None])
            points = jnp.where(fixed, corner, x[None])
            data = jax.vmap(lambda p, f=value: jnp.asarray(f(p), x.dtype))(points)
            total = total + jnp.tensordot(weights, data, axes=1)
        return total

    @property
    def defect(self) -> float:
        """The largest difference of two faces' values where they meet.

        Measured at some points of each edge, corners among them.
        """
        lower = np.asarray(self.cell.lower.value)
        upper = np.asarray(self.cell.upper.value)
        random = np.random.default_rng(0).random((16, len(lower)))
        # A third each at the lower end, at the upper end and between.
        cells = np.where(random < 1 / 3, 0, np.where(random > 2 / 3, 1, 3 * random - 1))
        pairs = itertools.combinations(zip(self.faces, self.values, strict=True), 2)
        worst = 0.0
        for ((axis, side), one), ((other, other_side), two) in pairs:
            if axis == other or (one is None and two is None):
                continue
            points = lower + cells * (upper - lower)
            points[:, axis] = (lower, upper)[side][axis]
            points[:, other] = (lower, upper)[other_side][other]
            points = jnp.asarray(points, lower.dtype)
            gap = _evaluate(one, points) - _evaluate(two, points)
            worst = max(worst, float(np.max(np.abs(gap))))
        return worst

    def _terms(self) -> list[tuple[Any, list[tuple[tuple[int, int], ...]]]]:
        """Values with the sets of faces at whose intersection each is evaluated.

        Where faces with a zero meet others, consistent data vanish, so that these sets
        are left out. The first axis lends its value, which makes the last one exact.
        """
        by_axis: dict[int, list] = {}
        for face, value in zip(self.faces, self.values, strict=True):
            if value is not None:
                by_axis.setdefault(face[0], []).append((face, value.value))
        terms: dict[int, tuple[Any, list]] = {}
        choices = [[None, *entries] for entries in by_axis.values()]
        for choice in itertools.product(*choices):
            entries = [entry for entry in choice if entry is not None]
            if entries:
                value = entries[0][1]
                _, subsets = terms.setdefault(id(value), (value, []))
                subsets.append(tuple(face for face, _ in entries))
        return list(terms.values())

    def _paired(self, dim: int) -> Bool[np.ndarray, "1 dim"]:
        """Axes both of whose faces have data."""
        both = [(i, 0) in self.faces and (i, 1) in self.faces for i in range(dim)]
        return np.asarray([both])


def _hold(value: Any, dtype: Any) -> Frozen | None:
    if callable(value):
        return Frozen(value)
    if not isinstance(value, jax.core.Tracer) and not np.any(np.asarray(value)):
        return None
    return Frozen(jnp.asarray(value, dtype))


def _count(faces: Sequence[tuple[int, int]]) -> int:
    sides = [sum(axis == i for axis, _ in faces) for i in {axis for axis, _ in faces}]
    return math.prod(1 + num for num in sides) - 1


def _masks(
    subsets: list[tuple[tuple[int, int], ...]], dim: int
) -> tuple[
    Bool[np.ndarray, "terms dim"],
    Bool[np.ndarray, "terms dim"],
    Float[np.ndarray, " terms"],
]:
    """Which coordinates each set of faces fixes, which of these above, and its sign."""
    fixed = np.zeros((len(subsets), dim), bool)
    above = np.zeros((len(subsets), dim), bool)
    for row, subset in enumerate(subsets):
        for axis, side in subset:
            fixed[row, axis] = True
            above[row, axis] = side == 1
    signs = np.asarray([-((-1.0) ** len(subset)) for subset in subsets])
    return fixed, above, signs


def _product(factors: Float[Array, "terms dim"]) -> Float[Array, " terms"]:
    # One factor at a time: `jnp.prod` divides in its derivative and fails at zeros.
    product = factors[:, 0]
    for i in range(1, factors.shape[1]):
        product = product * factors[:, i]
    return product


def _evaluate(value: Frozen | None, points: Float[Array, "n dim"]) -> np.ndarray:
    if value is None:
        return np.zeros(())
    if not callable(value.value):
        return np.asarray(value.value)
    return np.asarray(jax.vmap(lambda x: jnp.asarray(value.value(x)))(points))
