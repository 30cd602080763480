"""Which numbers of an unknown are trained, and in which it is linear."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.field import AbstractField
from sobng.typing import Params, Unknown


class Frozen(eqx.Module):
    """Holds arrays, or a whole field, that are not trained.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        params, rest = sn.partition({"k": jnp.ones(2), "scale": sn.Frozen(jnp.ones(3))})
        params["k"], params["scale"].value    # the array, None
        ```
    """

    value: PyTree


def partition(unknown: Unknown) -> tuple[Params, PyTree]:
    """Splits an unknown into the arrays to train and everything else.

    !!! example

        ```python
        import jax
        import sobng as sn

        field = sn.MLP(2, key=jax.random.key(0))
        params, rest = sn.partition(field)
        field = sn.combine(params, rest)
        ```

    **Arguments:**

    - `unknown`: any PyTree: a field, a module of your own, arrays, a dict of these.

    **Returns:** `(params, rest)`, both like `unknown`. `params` has the inexact JAX
    arrays outside every [`sobng.Frozen`][], `rest` the other leaves; each has `None`
    where the other has a leaf.
    """
    return eqx.partition(unknown, _trainable(unknown))


def combine(params: Params, rest: PyTree) -> Unknown:
    """Puts the two parts of [`sobng.partition`][] together again."""
    return eqx.combine(params, rest)


def linear_leaves(unknown: Unknown) -> PyTree[bool]:
    """Marks the trainable arrays in which the fields of an unknown are affine.

    !!! example

        ```python
        import jax
        import sobng as sn

        field = sn.MLP(2, key=jax.random.key(0))
        linear = sn.linear_leaves(field)
        linear.weights, linear.biases    # (False, True), (False, True)
        ```

    **Arguments:**

    - `unknown`: any PyTree. Only sobng's fields say anything; other modules and bare
      arrays (unknown coefficients) are marked `False`.

    **Returns:** a PyTree like `unknown` with a bool for each leaf.
    """

    def flags(node):
        if isinstance(node, AbstractField):
            marked = node.linear_leaves()
            return jax.tree.map(lambda a, b: a and b, marked, _trainable(node))
        return jax.tree.map(lambda _: False, node)

    return jax.tree.map(flags, unknown, is_leaf=_is_function)


def with_bandwidth(unknown: Unknown, scale: Any) -> Unknown:
    """Multiplies the frequencies of the first layers, which widens or narrows features.

    The centres of the features stay where they are.

    !!! example

        ```python
        import jax
        import sobng as sn

        field = sn.MLP(2, activation=jax.numpy.sin, key=jax.random.key(0))
        finer = sn.with_bandwidth(field, 4.0)
        ```

    **Arguments:**

    - `unknown`: any PyTree. Fields and modules with a method `rescaled(scale)` change,
      everything else stays.
    - `scale`: a positive number, which may be traced.

    **Returns:** the unknown with the new weights.
    """

    def rescale(node):
        return node.rescaled(scale) if hasattr(node, "rescaled") else node

    return jax.tree.map(rescale, unknown, is_leaf=_is_function)


def _is_function(node: Any) -> bool:
    # What a user's module does with a field inside it, nobody knows: the last layer of a
    # network whose exponential it returns is not linear.
    return isinstance(node, eqx.Module) or callable(node)


def _trainable(unknown: Unknown) -> PyTree[bool]:
    def flags(node):
        if isinstance(node, Frozen):
            return jax.tree.map(lambda _: False, node)
        return isinstance(node, jax.Array) and jnp.issubdtype(node.dtype, jnp.inexact)

    return jax.tree.map(flags, unknown, is_leaf=lambda node: isinstance(node, Frozen))
