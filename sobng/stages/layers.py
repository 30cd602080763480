"""The stage that looks for boundary layers."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.graded import Graded, with_grading
from sobng.fields.partition import linear_leaves, with_bandwidth
from sobng.geometry.box import AbstractBox
from sobng.geometry.grading import Grading, STRAIGHT
from sobng.geometry.spacetime import SpaceTime
from sobng.problem import Energy
from sobng.stages.bandwidth import (
    best_bandwidth,
    blanked,
    followed,
    solved,
    undamped,
)
from sobng.stages.features import feature_field, start_bandwidth
from sobng.stages.stage import AbstractStage, Context


WIDTHS = {
    1: tuple(10.0 ** (-k / 2) for k in range(2, 13)),
    2: (1e-1, 1e-2, 1e-3, 1e-4),
}
"""By dimension, the widths of layers that are tried, as parts of the box."""

STEPS = 4
"""The most steps with which a width is tried."""


class Layers(AbstractStage):
    """Solves anew in features of coordinates that stretch layers at the walls of a box.

    The widths of the layers are chosen like a bandwidth: by a few linear solves, scored
    on held-out points that are dense at the walls. Only for a field that sobng chose,
    on boxes of up to two dimensions, and only while the estimated error is above `above`.

    !!! example

        ```python
        import sobng as sn

        sn.Layers(above=1e-6)
        ```
    """

    above: float = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, above: float = 1e-8, max_steps: int | None = 20):
        """**Arguments:**

        - `above`: the estimated error from which on layers are looked for.
        - `max_steps`: the most steps.
        """
        self.above = above
        self.name = "layers"
        self.max_steps = max_steps
        self.patience = 2

    def wanted(self, context):
        problem = context.problem
        if isinstance(problem, Energy) or not context.owned:
            return False
        if problem.dim not in WIDTHS or not _is_box(problem.domain):
            return False
        return context.error is None or context.error > max(
            self.above, context.tolerance
        )

    def prepare(self, context):
        problem = context.problem
        lower, upper = problem.domain.bounds
        fields = dict(entries(context.unknown))
        for i, (name, u) in enumerate(fields.items()):
            if callable(u):
                _, out = sizes_of("Layers", u, problem.dim)
                key = jax.random.fold_in(context.key, i)
                inner = feature_field(problem.dim, out, key)
                straight = Grading(lower, upper, np.full(problem.dim, STRAIGHT))
                fields[name] = Graded(inner, straight)
        return blanked(impose(problem, rebuild(context.unknown, fields)))

    def begin(self, context):
        dim = context.problem.dim
        start = start_bandwidth(dim)
        blank = with_bandwidth(context.unknown, start)

        def attempt(widths):
            now = _graded(context, blank, widths)
            return widths, *solved(now, now.unknown, STEPS)

        found = []
        for width in WIDTHS[dim]:
            if found and context.out_of_time():
                break
            found.append(attempt(np.full(dim, width)))
        widths, unknown, score = min(found, key=lambda item: item[2])
        now = _graded(context, unknown, widths)
        if not followed(now, unknown):
            return unknown
        for axis in range(dim if dim > 1 else 0):
            straight = np.where(np.arange(dim) == axis, STRAIGHT, widths)
            _, _, other = attempt(straight)
            if other < score:
                widths, score = straight, other
        now = _graded(context, context.unknown, widths)
        return best_bandwidth(now, now.unknown, start)

    def moves(self, context):
        return linear_leaves(context.unknown)

    def solver(self, context):
        return undamped(context.problem.dim)


def _graded(context: Context, unknown: PyTree, widths: np.ndarray) -> Context:
    """The context in which an unknown has layers of given widths."""
    lower, upper = context.problem.domain.bounds
    grading = Grading(lower, upper, widths)
    training, held_out = context.points(grading)
    return dataclasses.replace(
        context,
        unknown=with_grading(unknown, grading),
        training=training,
        held_out=held_out,
    )


def _is_box(domain) -> bool:
    space = domain.space if isinstance(domain, SpaceTime) else domain
    return isinstance(space, AbstractBox)
