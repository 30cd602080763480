"""The stage in which a network grows."""

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.fields._layers import centred_layer
from sobng.fields.mlp import MLP
from sobng.solvers.gauss_newton import GaussNewton
from sobng.stages.attempt import may_choose
from sobng.stages.stage import AbstractStage


class Wider(AbstractStage):
    """Twice as many neurons, the new ones without weight in the last layer: the field is
    the same function, and can be more.

    Their inner weights are drawn as large as those of the old ones have become. Only for
    a network of one hidden layer that sobng chose, up to three dimensions, while the
    estimate is above `1e-9` or there is none. The driver adds points where there are fewer
    than three rows for each number.

    !!! example

        ```python
        import sobng as sn

        stages = (sn.Attempt(), sn.Wider(), sn.Wider(), sn.AllParameters())
        ```
    """

    share: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(self, *, max_steps: int | None = None):
        """**Arguments:**

        - `max_steps`: the most steps; no limit of its own by default.
        """
        self.share = 3
        self.name = "wider"
        self.max_steps = max_steps
        self.patience = 40

    def wanted(self, context):
        return may_choose(context)

    def prepare(self, context):
        def network(node):
            return isinstance(node, MLP)

        def grown(node):
            return doubled(node, context.key) if network(node) else node

        return jax.tree.map(grown, context.unknown, is_leaf=network)

    def begin(self, context):
        return context.unknown

    def moves(self, context):
        return None

    def solver(self, context):
        return GaussNewton()


def doubled(network: MLP, key: jax.Array) -> MLP:
    """The same function by a network of one hidden layer with twice as many neurons."""
    (inner, outer), (bias, last) = network.weights, network.biases
    size = jnp.sqrt(jnp.mean(inner**2))
    new, new_bias = centred_layer(key, network.dim, len(bias), size, inner.dtype)
    weights = (
        jnp.concatenate([inner, new]),
        jnp.concatenate([outer, jnp.zeros_like(outer)], axis=1),
    )
    biases = (jnp.concatenate([bias, new_bias]), last)
    return eqx.tree_at(lambda m: (m.weights, m.biases), network, (weights, biases))
