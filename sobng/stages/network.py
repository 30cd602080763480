"""The stage that tries a small network in the place of features."""

from typing import Any

import equinox as eqx
import jax

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.field import sizes_of
from sobng.fields.mlp import MLP
from sobng.fields.sine import sine
from sobng.problem import Energy
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.features import LOW
from sobng.stages.stage import AbstractStage, Context, GOOD, settled
from sobng.typing import Key


WIDTH = {1: 15, 2: 30, 3: 30}
"""Of two hidden layers of tanh: a third of the rows that features needed."""

SINES = 64
"""Neurons of one hidden layer beyond three dimensions."""


class Network(AbstractStage):
    """Beyond three dimensions: a fresh network of 64 sines, all parameters of which move.

    Some solutions are a few waves, however many coordinates these have: that is found in
    seconds, and features would need thousands. Ends as soon as the loss falls slowly;
    the features come back if they were better. Only for a field that sobng chose.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.LastLayer(), sn.Network(), sn.MoreFeatures(4))
        ```
    """

    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, max_steps: int | None = None):
        """**Arguments:**

        - `max_steps`: the most steps; no limit of its own by default.
        """
        self.name = "network"
        self.max_steps = max_steps
        self.patience = 30

    def wanted(self, context):
        features = context.owned and "last-layer" in context.done
        if context.problem.dim <= LOW or not features:
            return False
        if isinstance(context.problem, Energy):
            return False
        return not settled(context, GOOD)

    def prepare(self, context):
        return fresh_network(context)

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        return GaussNewton()


def fresh_network(context: Context) -> Any:
    """An unknown of the same kind whose fields are networks to be trained."""
    dim = context.problem.dim
    fields = dict(entries(context.unknown))
    for i, (name, u) in enumerate(fields.items()):
        if callable(u):
            _, out = sizes_of("Network", u, dim)
            key = jax.random.fold_in(context.key, i)
            if dim > LOW:
                fields[name] = few_sines(dim, out, key)
            else:
                fields[name] = MLP(dim, out=out, width=WIDTH[dim], depth=2, key=key)
    return impose(context.problem, rebuild(context.unknown, fields))


def few_sines(dim: int, out: int | None, key: Key) -> MLP:
    """A network of 64 sines, for many dimensions.

    Their arguments are of size one, however many coordinates are added up there.
    """
    return MLP(dim, out=out, width=SINES, activation=sine, bandwidth=dim**-0.5, key=key)
