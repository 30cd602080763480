"""The points that a run is on, and how they change as it goes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.calculus import jacobian
from sobng.collocation import Collocation, discretise, PointPlan, regions
from sobng.fields.algebra import entries
from sobng.fields.graded import Grading, grading_of
from sobng.geometry.samplers import Adaptive


STEEP = 2.0
"""Points where a field is steep for each where its residual is large."""

EVEN = 0.7
"""Points that are spread evenly for each of both."""

BATCH = 1024


class Points:
    """The training and held-out points of a run, as its plan lays them.

    They are made more when a run over-fits or its field grows, drawn anew where a stage
    asks for fresh ones, and dense where the field stretches its coordinates or, for a stage
    that asks for it, where the field is steep or wrong.
    """

    plan: PointPlan
    level: float | int
    """How often they were doubled."""
    drawn: int
    """The number of the last draw of others; none yet at zero."""
    training: Collocation
    held_out: Collocation
    """Never trained on, and always as many."""

    def __init__(self, plan: PointPlan):
        self.plan = plan
        self.level, self.drawn = 0, 0
        self._grading: Grading | None = None
        self.training, self.held_out = self.graded(None)

    @property
    def refinable(self) -> bool:
        """Whether their number is ours to choose."""
        return self.plan.refinable

    def graded(self, grading: Grading | None) -> tuple[Collocation, Collocation]:
        """As many points as there are now, for a field stretched like this."""
        training = self.plan.training(self.level, grading)
        return training, self.plan.held_out(training, grading)

    def follow(self, unknown: PyTree) -> bool:
        """Lays them where an unknown stretches its coordinates; whether they moved."""
        grading = grading_of(unknown)
        if grading is None and self._grading is None:
            return False
        self._grading = grading
        self.training, self.held_out = self.graded(grading)
        return True

    def enlarge(self, level: float | int) -> None:
        """Trains on the points of another level."""
        self.level, self.drawn = level, 0
        self.training = self.plan.training(level, self._grading)

    def draw(self, number: int) -> None:
        """Trains on others, as many, where the sampler is random."""
        self.drawn = number
        self.training = self.plan.training(self.level, self._grading, draw=number)

    def follow_values(self, number: int, unknown: PyTree, args: Any) -> None:
        """Trains on others, as many, most of which lie where an unknown is steep or its
        residual is large, unless the user gave the points."""
        if not self.refinable:
            self.draw(number)
            return
        problem, num = self.plan.problem, round(self.plan.num * 2**self.level)

        def score(points):
            points = jnp.asarray(points, self.training.dtype)
            looks = _slopes_and_residuals(problem, unknown, points, args)
            steep, wrong = (_over_mean(np.asarray(look)) for look in looks)
            return STEEP * steep + wrong

        def sampler(region, key):
            return Adaptive(num, floor=EVEN).resample(region, score, key)

        inside = [n for n, region in regions(problem).items() if not region.is_boundary]
        key = jax.random.fold_in(self.plan.key, number + 1)
        self.training = discretise(
            problem, num, sampler=dict.fromkeys(inside, sampler), key=key
        )


def _over_mean(values: np.ndarray) -> np.ndarray:
    values = np.where(np.isfinite(values), values, 0)
    return values / max(float(np.mean(values)), float(np.finfo(values.dtype).tiny))


@eqx.filter_jit
def _slopes_and_residuals(problem, unknown, points, args):
    """Norms at points: of the slopes of the fields over the domain, of the residuals."""
    lower, upper = (jnp.asarray(b, points.dtype) for b in problem.domain.bounds)
    fields = [u for u in entries(unknown).values() if callable(u)]
    inside = [c for c in problem.conditions if not c.region.is_boundary]

    def look(x):
        # In coordinates of the unit cell.
        near = lambda u: lambda s: u(lower + (upper - lower) * s)
        cell = (x - lower) / (upper - lower)
        slopes = [jnp.ravel(jacobian(near(u))(cell)) for u in fields]
        wrong = [jnp.ravel(c.residual(unknown, x, args)) for c in inside]
        return tuple(jnp.linalg.norm(jnp.concatenate(a)) for a in (slopes, wrong))

    return jax.lax.map(look, points, batch_size=BATCH)
