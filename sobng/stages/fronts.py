"""The stage for fronts in space and time: a deep network whose points follow it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.mlp import MLP
from sobng.fields.periodic import PeriodicEmbedding
from sobng.geometry.spacetime import SpaceTime
from sobng.problem import Periodic, Problem
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.features import features_of, LOW
from sobng.stages.stage import AbstractStage, Context
from sobng.typing import Key


POOR = 1e-2
"""The error of features that are given up."""

WIDTH, DEPTH = 20, 3

PROBES, KINK = 16, 1e-6
"""Points at which the imposed data are looked at, and the largest jump that is rounding."""


class Fronts(AbstractStage):
    """Gives features that failed on a domain in space and time up for a network of three
    hidden layers of 20 tanh, all parameters of which move, on points that follow it.

    Features of all times at once end in a wrong local minimum where a front forms. A deep
    network bends to it, if points are drawn anew for each step, most of them where the
    network is steep or its residual large: points that stay see too little of a front to
    keep it in its place. Axes in which the unknown is periodic are embedded. Only for a
    field that sobng chose, up to three dimensions, and where the error of the features is
    above 1e-2 or unknown.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.LastLayer(), sn.Fronts())
        ```

    ??? cite "Reference"

        Wu, Zhu, Tan, Kartha, Lu: A comprehensive study of non-adaptive and residual-based
        adaptive sampling for physics-informed neural networks (CMAME 2023, arXiv
        2207.10289). We differ in: slopes count beside residuals, and points carry weights,
        so that the loss remains the integral.
    """

    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)
    fresh: int = eqx.field(static=True)
    follows: bool = eqx.field(static=True)

    def __init__(self, *, max_steps: int | None = None):
        """**Arguments:**

        - `max_steps`: the most steps; no limit of its own by default.
        """
        self.name = "fronts"
        self.max_steps = max_steps
        self.patience = 40
        self.fresh = 1
        self.follows = True

    def wanted(self, context):
        problem = context.problem
        if not (context.owned and isinstance(problem, Problem)):
            return False
        if not isinstance(problem.domain, SpaceTime) or problem.dim > LOW:
            return False
        failed = context.error is None or context.error > POOR
        return failed and features_of(context.unknown) is not None

    def prepare(self, context):
        embedded = _networks(context, embed=True)
        if _repeats(context, embedded):
            return embedded
        return _networks(context, embed=False)

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        return GaussNewton()


def _networks(context: Context, embed: bool) -> Any:
    """An unknown of the same kind whose fields are deep networks."""
    fields = dict(entries(context.unknown))
    for i, (name, u) in enumerate(fields.items()):
        if callable(u):
            key = jax.random.fold_in(context.key, i)
            periods = _periods(context, name) if embed else {}
            fields[name] = _network(context, u, periods, key)
    return impose(context.problem, rebuild(context.unknown, fields))


def _periods(context: Context, name: str | None) -> dict[int, float]:
    """The lengths of the axes in which a field is to be periodic."""
    return {
        c.axis: c.length
        for c in context.problem.conditions
        if isinstance(c, Periodic) and c.of == name
    }


def _network(context: Context, field: Any, periods: dict, key: Key) -> Any:
    """A network of as many components, periodic in some axes."""
    dim, out = sizes_of("Fronts", field, context.problem.dim)
    inner = MLP(dim + len(periods), out=out, width=WIDTH, depth=DEPTH, key=key)
    if not periods:
        return inner
    lower, upper = context.problem.domain.bounds
    bounds = {i: (lower[i], upper[i]) for i in range(dim) if i not in periods}
    return PeriodicEmbedding(inner, periods, bounds=bounds)


def _repeats(context: Context, unknown: Any) -> bool:
    """Whether embedded fields are periodic with the data that were imposed on them, whose
    periodic extension may have a kink."""
    for condition in context.problem.conditions:
        if isinstance(condition, Periodic):
            points, _ = condition.region.quadrature(PROBES)
            points = jnp.asarray(points, context.training.dtype)
            at = lambda x, c=condition: c.residual(unknown, x, context.args)
            if float(jnp.max(jnp.abs(jax.vmap(at)(points)))) > KINK:
                return False
    return True
