"""Where a condition holds: the interior of a domain or named parts of its boundary."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.checks import check_num
from sobng.geometry.faces import Faces
from sobng.geometry.patch import AbstractPatch
from sobng.geometry.quadrature import RandomKey, Rule, seeded, Uniforms


class Region(eqx.Module):
    r"""The interior of a domain, or a part of its boundary.

    Regions come from domains (`domain.interior`, `domain.boundary`,
    `domain.part("left")`); nobody needs to build one. They have no array leaves, so
    they pass through `jax.jit` as static data, and equal regions compile once.

    !!! example

        ```python
        square = sobng.Box((0.0, 0.0), (1.0, 1.0))
        points, weights = square.part("left").quadrature(8)  # [8, 2], [8]
        outward = jax.vmap(square.part("left").normal)(points)  # rows of (-1, 0)
        ```
    """

    name: str = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    domain: Any  # an `AbstractDomain`, whose file imports this one
    patch: AbstractPatch | None  # `None` for the interior

    @property
    def dim(self) -> int:
        """The dimension of its points."""
        return self.domain.dim

    @property
    def measure(self) -> float:
        """Volume, area, length; the number of points for boundaries in 1-D."""
        return self.domain.measure if self.patch is None else self.patch.measure

    @property
    def is_boundary(self) -> bool:
        """Whether this is a part of the boundary."""
        return self.patch is not None

    @property
    def has_factor(self) -> bool:
        """Whether `factor` exists, so that a field can vanish here exactly."""
        return self.patch is not None and self.domain.has_factor(self.names)

    @property
    def faces(self) -> tuple[tuple[int, int], ...] | None:
        """The `(axis, side)` of each face of a box; `None` for other shapes."""
        return self.patch.faces if isinstance(self.patch, Faces) else None

    def quadrature(self, num: int) -> Rule:
        """A deterministic rule.

        **Arguments:**

        - `num`: about how many points (tensor rules round per axis).

        **Returns:** points `[n, dim]` and non-negative weights `[n]` that sum to
        `measure`, NumPy float64.

        **Raises:** `ValueError` if `num < 1`.
        """
        check_num(num, f"{self.name}.quadrature")
        return self._shape.rule(num)

    def draw(self, num: int, uniforms: Uniforms) -> Rule:
        """Exactly `num` points from a stream of uniform points, of equal weights."""
        check_num(num, f"{self.name}.draw")
        points = self._shape.draw(num, uniforms)
        return points, np.full(num, self.measure / num)

    def sample(self, num: int, key: RandomKey) -> Rule:
        """Exactly `num` scrambled Sobol points, of equal weights `measure / num`.

        **Arguments:**

        - `num`: how many points; powers of two are best.
        - `key`: a JAX random key; the same key gives the same points.

        **Returns:** points `[num, dim]` and weights `[num]`, NumPy float64.
        """
        return self.draw(num, seeded(key))

    def normal(self, x: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The outward unit normal at one point of a boundary region (traceable).

        **Raises:** `ValueError` for an interior.
        """
        return self._boundary("normal").normal(x)

    def factor(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """A function that vanishes on this region and is positive inside (traceable).

        Its normal derivative on the region is not zero, corners excepted, and its
        size is about one. A field times this factor obeys a zero Dirichlet condition.

        **Raises:** `ValueError` for an interior and where `has_factor` is false.
        """
        self._boundary("factor")
        if not self.has_factor:
            raise ValueError(
                f"`{self.name}` has no factor: no known function vanishes there and "
                "is positive in the rest of the domain. "
                f"Got a part of `{type(self.domain).__name__}`. "
                "Impose the condition as a penalty (`exact=False`) or use the whole "
                "boundary."
            )
        return self.domain.factor(self.names, x)

    def _boundary(self, what: str) -> AbstractPatch:
        if self.patch is None:
            raise ValueError(
                f"`{what}` needs a part of a boundary. Got the region `{self.name}`. "
                "Use `domain.boundary` or `domain.part(name)`."
            )
        return self.patch

    @property
    def _shape(self):
        return self.domain if self.patch is None else self.patch
