"""Features whose coefficients change from one slab of time to the next."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.fields.field import AbstractField, check_sizes, first_of, mark
from sobng.fields.mlp import MLP
from sobng.fields.partition import Frozen
from sobng.typing import Point, Value


OVERLAP = 0.125
"""The part of a slab in which it takes over from the one before."""


class TimeSlabs(AbstractField):
    r"""A sum of features with coefficients of their own in each slab of time,

    $$u(t, x) = \sum_j c_j(t)\, \sin(w_j \cdot (2 K \tau, x) + b_j),$$

    where $\tau$ is the part of the unit cell's time axis that has passed and $c_j$ is
    constant in each of $K$ slabs but for its first eighth, in which it turns from the slab
    before: twice differentiable in time. So few features of each slab resolve what would
    take as many as all of them together at once.

    !!! example

        ```python
        import jax
        import sobng as sn

        features = sn.with_bandwidth(
            sn.sine_features(2, num=200, key=jax.random.key(0)), 6.0
        )
        field = sn.TimeSlabs(features, 8)
        field(jax.numpy.array([0.5, 0.5]))    # 0: its coefficients are zero
        ```
    """

    features: Frozen
    coefficients: Float[Array, "slabs components features"]
    offsets: Float[Array, "slabs components"]
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, features: MLP, num: int):
        """**Arguments:**

        - `features`: a network of one hidden layer. Its first coordinate is time, of which
            it sees an interval of length 2 in each slab.
        - `num`: how many slabs.

        **Raises:** `ValueError` unless `num` is positive and the network has one hidden
        layer.
        """
        check_sizes("TimeSlabs", num=num)
        if not isinstance(features, MLP) or len(features.weights) != 2:
            raise ValueError(
                "`TimeSlabs` needs an `MLP` of one hidden layer. Got "
                f"`{type(features).__name__}`. Take `sobng.sine_features`."
            )
        _, last = features.weights
        self.features = Frozen(features)
        self.coefficients = jnp.broadcast_to(last[None], (num, *last.shape))
        offset = features.biases[1]
        self.offsets = jnp.broadcast_to(offset[None], (num, *offset.shape))
        self.dim, self.out = features.dim, features.out

    @property
    def num(self) -> int:
        """How many slabs there are."""
        return len(self.coefficients)

    def __call__(self, x: Point) -> Value:
        place = self.place(x[0])
        now = jnp.clip(jnp.floor(jax.lax.stop_gradient(place)), 0, self.num - 1)
        share = _smooth_step((place - now) / OVERLAP)
        index = now.astype(jnp.int32)
        before = jnp.maximum(index - 1, 0)

        def turned(values):
            return values[before] + share * (values[index] - values[before])

        return _of(self.features.value, turned, self)(x.at[0].set(2 * place))

    def place(self, time: Any) -> Any:
        """Slabs that have passed at a time of the unit cell."""
        return (time + 1) / 2 * self.num

    def piece(self, index: Any) -> "Piece":
        """The features of one slab, at all times."""
        return Piece(_of(self.features.value, lambda v: v[index], self), self.num)

    def with_piece(self, index: Any, piece: "Piece") -> "TimeSlabs":
        """The same with other coefficients in one slab."""
        where = lambda s: (s.coefficients, s.offsets)
        last = piece.field.weights[1], piece.field.biases[1]
        pairs = zip(where(self), last, strict=True)
        return eqx.tree_at(where, self, tuple(a.at[index].set(b) for a, b in pairs))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda s: (s.coefficients, s.offsets), (True, True))


class Piece(AbstractField):
    """One slab of `TimeSlabs`, continued to all times."""

    field: MLP
    num: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, field: MLP, num: int):
        self.field = field
        self.num = num
        self.dim, self.out = field.dim, field.out

    def __call__(self, x: Point) -> Value:
        return self.field(x.at[0].set((x[0] + 1) * self.num))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda p: p.field, self.field.linear_leaves())


def slabs_of(unknown: PyTree) -> TimeSlabs | None:
    """The first field in slabs of an unknown, `None` if there is none."""
    return first_of(unknown, TimeSlabs)


def piece_of(unknown: PyTree, index: Any) -> PyTree:
    """The unknown with one slab, continued to all times, in the place of all."""
    one = lambda node: node.piece(index) if _in_slabs(node) else node
    return jax.tree.map(one, unknown, is_leaf=_in_slabs)


def with_piece(unknown: PyTree, index: Any, piece: PyTree) -> PyTree:
    """The unknown in slabs with one of `piece_of` put back."""
    one = lambda node, new: node.with_piece(index, new) if _in_slabs(node) else node
    return jax.tree.map(one, unknown, piece, is_leaf=_in_slabs)


def _in_slabs(node: Any) -> bool:
    return isinstance(node, TimeSlabs)


def _of(features: MLP, pick: Any, slabs: TimeSlabs) -> MLP:
    """The network with a last layer that is picked from those of the slabs."""
    last = pick(slabs.coefficients), pick(slabs.offsets)
    return eqx.tree_at(lambda f: (f.weights[1], f.biases[1]), features, last)


def _smooth_step(part: Any) -> Any:
    """From 0 to 1, with two derivatives that are continuous."""
    part = jnp.clip(part, 0, 1)
    return part**3 * (10 + part * (6 * part - 15))
