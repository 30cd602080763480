"""Fourier features in front of a field."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from sobng.fields.field import AbstractField, check_sizes, mark
from sobng.fields.mlp import MLP
from sobng.fields.partition import Frozen, linear_leaves
from sobng.fields.scaled import cell_of, UnitCell
from sobng.typing import Key, Number, Point, Value


class FourierFeatures(AbstractField):
    r"""A multilayer perceptron of random waves, $x \mapsto f(\cos Bx, \sin Bx)$.

    The frequencies are drawn as $B \sim$ `bandwidth` $N(0, 1)$. Use it where the
    solution oscillates; for one dominant frequency prefer `MLP` with `jnp.sin` or
    [`sobng.SIREN`][].

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        field = sn.FourierFeatures(2, num=32, bandwidth=5.0, key=jax.random.key(0))
        field(jnp.array([0.5, 0.5]))
        ```

    ??? cite "Reference"

        Tancik et al.: Fourier features let networks learn high frequency functions in
        low dimensional domains (NeurIPS 2020, arXiv 2006.10739).
    """

    frequencies: Array | Frozen
    field: MLP
    cell: UnitCell | None
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(
        self,
        dim: int,
        *,
        out: int | None = None,
        num: int = 64,
        trainable: bool = False,
        width: int = 64,
        depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: Key,
        domain: Any = None,
        bandwidth: Number = 1.0,
        dtype: Any = None,
    ):
        """**Arguments:**

        - `num`: waves; the network behind takes their `2 * num` cosines and sines.
        - `trainable`: whether the frequencies move.
        - `bandwidth`: standard deviation of the frequencies, per half the size of the
          domain.
        - the rest as for [`sobng.MLP`][].

        **Raises:** `ValueError` if a size is not a positive integer, or the domain has
        another dimension.
        """
        check_sizes("FourierFeatures", dim=dim, num=num)
        dtype = jnp.result_type(float) if dtype is None else dtype
        wave_key, field_key = jr.split(key)
        waves = jnp.asarray(bandwidth, dtype) * jr.normal(wave_key, (num, dim), dtype)
        self.frequencies = waves if trainable else Frozen(waves)
        self.field = MLP(
            2 * num,
            out=out,
            width=width,
            depth=depth,
            activation=activation,
            key=field_key,
            # `num` cosines and sines have length sqrt(num), whatever the point.
            bandwidth=num**-0.5,
            dtype=dtype,
        )
        self.cell = cell_of(domain, "FourierFeatures", dim, dtype)
        self.dim = dim
        self.out = out

    def __call__(self, x: Point) -> Value:
        x = x if self.cell is None else self.cell(x)
        waves = self.frequencies
        phase = (waves.value if isinstance(waves, Frozen) else waves) @ x
        return self.field(jnp.concatenate([jnp.cos(phase), jnp.sin(phase)]))

    def linear_leaves(self) -> PyTree[bool]:
        return mark(self, lambda f: f.field, linear_leaves(self.field))

    def rescaled(self, scale: Any) -> "FourierFeatures":
        """The same with `scale` times the frequencies."""
        waves = self.frequencies
        array = waves.value if isinstance(waves, Frozen) else waves
        array = jnp.asarray(scale, array.dtype) * array
        waves = Frozen(array) if isinstance(waves, Frozen) else array
        return eqx.tree_at(lambda f: f.frequencies, self, waves)
