"""The stage that tries a network of sines in the place of tanh."""

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.exact import impose
from sobng.fields.algebra import entries, rebuild
from sobng.fields.features import sine_features
from sobng.fields.field import sizes_of
from sobng.fields.mlp import MLP
from sobng.fields.partition import with_bandwidth
from sobng.fields.sine import sine
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.attempt import may_choose
from sobng.stages.bandwidth import best_bandwidth
from sobng.stages.features import network_of, start_bandwidth
from sobng.stages.stage import AbstractStage


PROBES = 256
"""Frozen features by which a bandwidth is judged: what the fewer neurons of a network can
do once they have moved is seen from more that do not."""


class Waves(AbstractStage):
    """A fresh network of sines, all parameters of which move, on a bandwidth that the
    problem asks for.

    The bandwidth is that of the random features which leave the least held-out loss after
    a linear solve; their coefficients are not used. Where a solution oscillates tanh neurons
    stand in each other's way for long; where it has layers sines do, and the driver then
    undoes this stage. Only for a network that sobng chose, up to three dimensions, while
    the estimate is above the user's `tolerance`, else `1e-9`, or there is none, and not after
    an `Attempt` that over-fits its points.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.Attempt(), sn.Waves(width=64), sn.AllParameters())
        ```
    """

    width: int = eqx.field(static=True)
    share: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, width: int = 128, max_steps: int | None = None):
        """**Arguments:**

        - `width`: neurons.
        - `max_steps`: the most steps; no limit of its own by default.
        """
        self.width = width
        self.share = 3
        self.name = "waves"
        self.max_steps = max_steps
        self.patience = 40

    def wanted(self, context):
        return may_choose(context)

    def prepare(self, context):
        def network(dim, out, key):
            return MLP(dim, out=out, width=self.width, activation=sine, key=key)

        return _with_fields(context, network)

    def begin(self, context):
        def features(dim, out, key):
            # Of a bandwidth of one, and without coefficients.
            return sine_features(dim, out=out, num=PROBES, key=key)

        dim = context.problem.dim
        probes = _with_fields(context, features)
        best = best_bandwidth(context, probes, start_bandwidth(dim))
        scale = _inner_size(best) / _inner_size(probes)
        # A normal distribution as wide as the ball that features come from.
        return with_bandwidth(context.unknown, scale / (dim + 2) ** 0.5)

    def moves(self, context):
        return None

    def solver(self, context):
        return GaussNewton()


def _with_fields(context, make):
    """An unknown of the same kind with other fields, made from sizes and a key."""
    dim = context.problem.dim
    fields = dict(entries(context.unknown))
    for i, (name, u) in enumerate(fields.items()):
        if callable(u):
            _, out = sizes_of("Waves", u, dim)
            fields[name] = make(dim, out, jax.random.fold_in(context.key, i))
    return impose(context.problem, rebuild(context.unknown, fields))


def _inner_size(unknown):
    network = network_of(unknown)
    assert network is not None  # it was made here
    return jnp.linalg.norm(network.weights[0])
