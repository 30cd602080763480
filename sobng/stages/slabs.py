"""The stage that follows fronts by features of stretched coordinates, slab by slab."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.calculus import jacobian
from sobng.exact import impose
from sobng.fields.features import sine_features
from sobng.fields.field import sizes_of
from sobng.fields.partition import linear_leaves
from sobng.fields.stretched import Stretched
from sobng.fields.time_slabs import TimeSlabs
from sobng.geometry.stretching import Stretching
from sobng.once import once
from sobng.problem import Periodic
from sobng.solvers.marching import lay, marches, Marching, projected, ROWS
from sobng.stages.features import features_of
from sobng.stages.stage import AbstractStage, settled


TIMES, PLACES = 65, 2049
"""At which the slopes of a network are taken."""

WAVES = 6.0, 3.0
"""The bandwidth in the stretched coordinate for each unit of room, and in time for each
slab."""

BATCH = 4096


class Slabs(AbstractStage):
    """Solves anew from a network that found a front on, by features of coordinates that
    stretch it, in one slab of time after the other.

    A network follows a front to four digits and no further. In coordinates that have room
    where it is steep the solution is as smooth as any other, and in a slab of time a
    thousand random sine features take it to nine digits. Only for a field that
    sobng chose, after [`sobng.Fronts`][], in time and one dimension of space, for a single
    unknown with conditions at the start and at the sides.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.LastLayer(), sn.Fronts(), sn.Slabs())
        ```
    """

    num: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    above: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)
    marches: bool = eqx.field(static=True)

    def __init__(
        self,
        num: int = 16,
        features: int = 1000,
        *,
        above: float = 1e-8,
        max_steps: int | None = None,
    ):
        """**Arguments:**

        - `num`: how many slabs of time.
        - `features`: how many in each.
        - `above`: the estimated error from which on this pays.
        - `max_steps`: the most steps, two or three of which each slab takes.
        """
        self.num = num
        self.features = features
        self.above = above
        self.name = "slabs"
        self.max_steps = max_steps
        self.patience = 10**6
        self.marches = True

    def wanted(self, context):
        if not context.owned or "fronts" not in context.done:
            return False
        if isinstance(context.unknown, dict):
            return False
        if features_of(context.unknown) is not None:
            return False
        return marches(context.problem) and not settled(context, self.above)

    def prepare(self, context):
        problem: Any = context.problem
        before = context.unknown
        _, out = sizes_of("Slabs", before, 2)
        periodic = any(isinstance(c, Periodic) for c in problem.conditions)
        stretching = _following(problem, before, context.training.dtype, periodic)
        waves: Any = sine_features(2, out=out, num=self.features, key=context.key)
        scale = jnp.asarray(
            [WAVES[1], WAVES[0] * stretching.room], waves.weights[0].dtype
        )
        waves = eqx.tree_at(
            lambda w: w.weights[0], waves, waves.weights[0] * scale[None]
        )
        blank = impose(problem, Stretched(TimeSlabs(waves, self.num), stretching))
        pieces = lay(problem, blank, ROWS * self.features)
        return projected(problem, blank, before, pieces.astype(context.training.dtype))

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return Marching()


def _following(problem: Any, unknown: PyTree, dtype: Any, periodic: bool) -> Stretching:
    """Coordinates with room where an unknown is steep."""
    lower, upper = problem.domain.bounds
    axes = (np.linspace(lower[i], upper[i], n) for i, n in enumerate((TIMES, PLACES)))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    values, slopes = _values_and_slopes(unknown, jnp.asarray(points, dtype))
    size = np.sqrt(np.mean(np.asarray(values, float) ** 2, axis=0))
    tiny = float(np.finfo(float).tiny)
    steep = np.linalg.norm(np.asarray(slopes, float) / np.maximum(size, tiny), axis=1)
    length = float(upper[1] - lower[1])
    widths = 1 / np.hypot(1 / length, steep.reshape(TIMES, PLACES))
    return Stretching(lower, upper, widths, periodic=periodic)


@once
def _values_and_slopes(unknown, points):
    """At points the components of the values, and their derivatives in space."""

    def look(x):
        return jnp.ravel(unknown(x)), jnp.ravel(jacobian(unknown)(x)[..., 1])

    return jax.lax.map(look, points, batch_size=BATCH)
