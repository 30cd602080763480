"""The multilayer perceptron."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from sobng.fields._layers import centred_layer, glorot_layer, readout_layer, stack
from sobng.fields.field import AbstractField, check_out, check_sizes, mark
from sobng.fields.scaled import cell_of, UnitCell
from sobng.typing import Key, Number, Point, Value


class MLP(AbstractField):
    r"""A multilayer perceptron.

    $$u(x) = W_L\, \sigma(\cdots \sigma(W_1 x + b_1) \cdots) + b_L.$$

    The first layer is drawn as $W_1 \sim$ `bandwidth` $N(0, 1)$ and $b_1 = -W_1 c$ with
    a centre $c$ for each neuron, uniform on $[-1, 1]^d$, so that the features cover the
    unit cell; hidden layers are Glorot's; the last layer is $N(0, 1)$ over the square
    root of the width. The value is linear in the last layer.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        field = sn.MLP(2, width=32, depth=2, key=jax.random.key(0))
        field(jnp.array([0.5, 0.5]))                                       # one point
        jax.vmap(field)(jnp.zeros((10, 2))).shape                          # (10,)
        ```

    ??? cite "Reference"

        The centred first layer follows the random features of Dong, Li: Local extreme
        learning machines (CMAME 2021, arXiv 2012.02895). We differ in: centres instead
        of independent biases.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    cell: UnitCell | None
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        out: int | None = None,
        width: int | Sequence[int] = 64,
        depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: Key,
        domain: Any = None,
        bandwidth: Number = 1.0,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `dim`: coordinates of a point, time included.
        - `out`: components of the value; `None` for a scalar.
        - `width`: neurons of each hidden layer; or of every one, as a sequence.
        - `depth`: hidden layers, where `width` is one number.
        - `activation`: acts on each neuron; a named function, as fields with different
          functions (also two equal lambdas) are compiled apart.
        - `key`: for the initial weights.

        **Other arguments:**

        - `domain`: maps its bounding box to the unit cell first. Without it inputs are
          expected in $[-1, 1]^d$.
        - `bandwidth`: the scale of the first layer: frequencies for `jnp.sin`,
          steepness for `jnp.tanh`, per half the size of the domain.
        - `dtype`: the precision; by default the session's.

        **Raises:** `ValueError` if a size is not a positive integer, or the domain has
        another dimension.
        """
        check_sizes("MLP", dim=dim, depth=depth)
        widths = [width] * depth if isinstance(width, int) else list(width)
        for one in widths or [0]:
            check_sizes("MLP", width=one)
        check_out("MLP", out)
        dtype = jnp.result_type(float) if dtype is None else dtype
        keys = jr.split(key, len(widths) + 1)
        layers = [centred_layer(keys[0], dim, widths[0], bandwidth, dtype)]
        for k, fan_in, fan_out in zip(keys[1:-1], widths, widths[1:], strict=False):
            layers.append(glorot_layer(k, fan_in, fan_out, dtype))
        layers.append(readout_layer(keys[-1], widths[-1], out, dtype))
        self.weights, self.biases = zip(*layers, strict=True)
        self.cell = cell_of(domain, "MLP", dim, dtype)
        self.dim = dim
        self.out = out
        self.activation = activation

    def __call__(self, x: Point) -> Value:
        x = x if self.cell is None else self.cell(x)
        return stack(self.weights, self.biases, self.activation, x, self.out)

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda m: (m.weights[-1], m.biases[-1]), (True, True))

    def rescaled(self, scale: Any) -> "MLP":
        """The same with `scale` times the first layer; the centres stay."""
        scale = jnp.asarray(scale, self.weights[0].dtype)
        first = (scale * self.weights[0], scale * self.biases[0])
        return eqx.tree_at(lambda m: (m.weights[0], m.biases[0]), self, first)
