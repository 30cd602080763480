"""Boundary values of any domain, extended by a polynomial."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobng.fields.partition import Frozen
from sobng.fields.scaled import UnitCell
from sobng.typing import Point, Value


DECAY = 2.0
"""By how much the coefficients should fall from one degree to the next."""

_MAX_TERMS = 3000


class PolynomialLift(eqx.Module):
    r"""A polynomial that fits given values on parts of a boundary.

    The Chebyshev polynomials of the bounding box up to a total degree are fitted by
    least squares (with coefficients that fall with the degree) when it is built. Unlike
    [`sobng.BoxLift`][] it serves every domain, and is exact only for polynomial data:
    `defect` is the largest misfit on a second set of points, `size` the largest value.
    Smooth data on smooth boundaries converge exponentially in the degree.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        lift = sn.PolynomialLift([(disk.boundary, lambda x: jnp.exp(x[0]))], degree=10)
        lift.defect    # 3e-10
        ```
    """

    cell: UnitCell
    coefficients: Frozen  # [terms, *out]
    exponents: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    defect: float = eqx.field(static=True)
    size: float = eqx.field(static=True)

    def __init__(
        self,
        data: Sequence[tuple[Any, Any]],
        *,
        degree: int = 8,
        num: int | None = None,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `data`: pairs of a region with `quadrature(num)` and the value there, a
          function of one point or a constant.
        - `degree`: the total degree of the polynomial.
        - `num`: points on each region; by default eight for each coefficient.
        - `dtype`: the precision of the result; by default the session's. The fit is
          made in float64 where the data are.

        **Raises:** `ValueError` without data, or with too many coefficients.
        """
        if len(data) == 0:
            raise ValueError(
                "`PolynomialLift` needs a region with data. Got none. Give pairs of a "
                "region and a value."
            )
        if degree < 0:
            raise ValueError(
                f"`PolynomialLift` needs a degree of at least zero. Got {degree}. A "
                "degree of 8 suits smooth data."
            )
        dim = data[0][0].quadrature(1)[0].shape[1]
        self.exponents = _exponents(dim, degree)
        num = 8 * len(self.exponents) if num is None else num
        points, values = _gather(data, num)
        self.cell = UnitCell(*_bounding_box(points), dtype=dtype)
        table = _design(_unit(points, points), self.exponents)
        # Of all polynomials with these boundary values a smooth one: the one with the
        # smallest coefficients has Laplacians a thousand times as large.
        decay = DECAY ** -np.sum(np.asarray(self.exponents, float), axis=1)
        scaled = np.linalg.lstsq(table * decay, values, rcond=None)[0]
        coefficients = (decay * scaled.T).T
        held, wanted = _gather(data, num + num // 3 + 1)
        fitted = _design(_unit(held, points), self.exponents) @ coefficients
        self.coefficients = Frozen(
            jnp.asarray(coefficients, self.cell.lower.value.dtype)
        )
        self.defect = float(np.max(np.abs(fitted - wanted)))
        self.size = float(np.max(np.abs(values)))

    def __call__(self, x: Point) -> Value:
        """The lift at one point."""
        z = self.cell(x)
        powers = [jnp.ones_like(z), z]
        degree = max(max(e) for e in self.exponents)
        for _ in range(degree - 1):
            powers.append(2 * z * powers[-1] - powers[-2])
        table = jnp.stack(powers)  # [degree + 1, dim]
        exponents = np.asarray(self.exponents)
        terms = table[exponents[:, 0], 0]
        for axis in range(1, exponents.shape[1]):
            terms = terms * table[exponents[:, axis], axis]
        return jnp.tensordot(terms, self.coefficients.value, axes=1)


def _exponents(dim: int, degree: int) -> tuple[tuple[int, ...], ...]:
    exponents: list[tuple[int, ...]] = [()]
    for _ in range(dim):
        exponents = [(*e, k) for e in exponents for k in range(degree + 1 - sum(e))]
        if len(exponents) > _MAX_TERMS:
            raise ValueError(
                f"`PolynomialLift` of degree {degree} in {dim} dimensions has more "
                f"than {_MAX_TERMS} coefficients. Got too many. Lower `degree`."
            )
    return tuple(exponents)


def _gather(
    data: Sequence[tuple[Any, Any]], num: int
) -> tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "..."]]:
    """Points of all regions and the values there."""
    points, values = [], []
    for region, value in data:
        nodes = np.asarray(region.quadrature(num)[0], float)
        at = value if callable(value) else (lambda _, v=value: v)
        batch = jnp.asarray(nodes)
        points.append(nodes)
        found = jax.vmap(lambda x, f=at: jnp.asarray(f(x), batch.dtype))(batch)  # noqa: B023
        values.append(np.asarray(found, float))
    return np.concatenate(points), np.concatenate(values)


def _bounding_box(
    points: Float[np.ndarray, "n dim"],
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
    lower, upper = points.min(axis=0), points.max(axis=0)
    # A region may lie in a plane.
    pad = np.where(upper > lower, 0.0, 1.0)
    return lower - pad, upper + pad


def _unit(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    lower, upper = _bounding_box(reference)
    return (2 * points - lower - upper) / (upper - lower)


def _design(
    points: Float[np.ndarray, "n dim"], exponents: Sequence[tuple[int, ...]]
) -> Float[np.ndarray, "n terms"]:
    """Values of all Chebyshev polynomials at points of the unit cell."""
    degree = max(max(e) for e in exponents)
    table = np.polynomial.chebyshev.chebvander(points, degree)  # [n, dim, degree + 1]
    return np.prod(
        [table[:, i, [e[i] for e in exponents]] for i in range(points.shape[1])], axis=0
    )
