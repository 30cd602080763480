"""The abstract domain: an interior, a boundary with named parts, set operations."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.namespace import Coords, Module, Values
from sobng.geometry.patch import AbstractPatch
from sobng.geometry.quadrature import Points, Rule, Uniforms
from sobng.geometry.region import Region


# Filled by `csg.py` and `spacetime.py`, whose classes derive from the one below.
OPERATORS: dict[str, Callable] = {}


class AbstractDomain(eqx.Module):
    """A bounded open set with a boundary in named parts.

    Domains are immutable and hold static floats only: they have no array leaves,
    equal domains hash equal, and a jitted function that takes one compiles once for
    all equal ones.
    """

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The dimension of its points."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the parts of the boundary."""

    @property
    @abc.abstractmethod
    def bounds(self) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, " dim"]]:
        """The lower and upper corner of a bounding box."""

    @property
    @abc.abstractmethod
    def measure(self) -> float:
        """Length, area or volume."""

    @abc.abstractmethod
    def signed(self, x: Coords, xp: Module) -> Values:
        """`distance`, at one traced point or at many on the host."""

    @abc.abstractmethod
    def level(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """Like `distance`, but smooth away from corners, and of size one."""

    @abc.abstractmethod
    def has_factor(self, names: tuple[str, ...]) -> bool:
        """Whether there is a `factor` for these parts."""

    @abc.abstractmethod
    def factor(
        self, names: tuple[str, ...], x: Float[Array, " dim"]
    ) -> Float[Array, ""]:
        """Zero on these parts, positive inside, of size one (traceable)."""

    @abc.abstractmethod
    def rule(self, num: int) -> Rule:
        """A rule of about `num` points for the interior."""

    @abc.abstractmethod
    def draw(self, num: int, uniforms: Uniforms) -> Points:
        """Exactly `num` uniformly distributed points of the interior."""

    @abc.abstractmethod
    def patch(self, names: tuple[str, ...]) -> AbstractPatch:
        """The union of the named parts; the names are known to be valid."""

    def distance(self, x: Float[Array, " dim"]) -> Float[Array, ""]:
        """The distance to the boundary, negative outside (traceable, one point).

        The sign is right everywhere. The size is the Euclidean distance for simple
        shapes and a lower bound of it inside set operations.
        """
        return self.signed(x, jnp)  # pyright: ignore[reportReturnType] (jnp in)

    @property
    def interior(self) -> Region:
        """The domain without its boundary."""
        return Region("interior", (), self, None)

    @property
    def boundary(self) -> Region:
        """The whole boundary."""
        return Region("boundary", self.names, self, self.patch(self.names))

    @property
    def parts(self) -> dict[str, Region]:
        """The parts of the boundary, by name."""
        return {name: self.part(name) for name in self.names}

    def part(self, *names: str) -> Region:
        """One part of the boundary, or several as one region.

        !!! example

            ```python
            walls = sobng.Box((0.0, 0.0), (1.0, 1.0)).part("left", "right")
            ```

        **Raises:** `ValueError` if a name is unknown.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown or not names:
            raise ValueError(
                f"`{type(self).__name__}` has no boundary part of that name. "
                f"Got {', '.join(map(repr, unknown)) or 'no name'}. "
                f"Choose from {', '.join(map(repr, self.names))}."
            )
        names = tuple(dict.fromkeys(names))
        return Region("+".join(names), names, self, self.patch(names))

    def __hash__(self) -> int:
        # Equinox hashes the leaves only, of which there are none: all domains would
        # collide in caches.
        return hash(jtu.tree_structure(self))

    def __or__(self, other: "AbstractDomain") -> "AbstractDomain":
        return OPERATORS["union"](self, other)

    def __and__(self, other: "AbstractDomain") -> "AbstractDomain":
        return OPERATORS["intersection"](self, other)

    def __sub__(self, other: "AbstractDomain") -> "AbstractDomain":
        return OPERATORS["difference"](self, other)

    def __mul__(self, other: "AbstractDomain") -> "AbstractDomain":
        return OPERATORS["product"](self, other)
