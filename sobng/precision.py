"""The one switch of precision, in the user's hand, and products that keep it."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp


P = ParamSpec("P")
R = TypeVar("R")


def enable_x64() -> None:
    """Switches JAX to float64, for the whole process; call it before arrays are made.

    !!! example

        ```python
        import sobng as sn

        sn.enable_x64()
        ```
    """
    jax.config.update("jax_enable_x64", True)


def precise(function: Callable[P, R]) -> Callable[P, R]:
    """With all products that it traces at full precision, those of a user's field too.

    GPUs else round what enters a float32 product to ten bits: a field is then wrong by 1e-3.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return call


def matmul(a, b):
    """A product at full precision, also where the hardware would round its inputs."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def apply(matrix, vector):
    """A matrix times a vector, as a product of matrices.

    Under `vmap` over vectors XLA then takes half the time that it takes for `matmul`, on
    a CPU; alone they are the same.
    """
    return matmul(matrix, vector[:, None])[:, 0]
