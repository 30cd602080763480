"""R-functions: smooth functions whose sign follows set operations."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


Scalar = Float[Array, ""]


def safe_norm(a: Scalar, b: Scalar) -> Scalar:
    """The root of `a^2 + b^2`, with derivative zero where both vanish."""
    squares = a * a + b * b
    zero = squares == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))


def conjunction(values: Sequence[Scalar]) -> Scalar:
    r"""Positive where all values are: $a + b - \sqrt{a^2 + b^2}$, repeated.

    It vanishes where the least value does, to first order like that value, and is
    analytic except where two values vanish together.

    ??? cite "Reference"

        Shapiro: Semi-analytic geometry with R-functions, Acta Numerica 16 (2007),
        section 3 (the system $R_0$).
    """
    # a + b - root = 2 a b / (a + b + root) where the left form would cancel.
    result = values[0]
    for value in values[1:]:
        root = safe_norm(result, value)
        both = (result > 0) & (value > 0)
        total = jnp.where(both, result + value + root, 1.0)
        result = jnp.where(both, 2.0 * result * value / total, result + value - root)
    return result


def disjunction(values: Sequence[Scalar]) -> Scalar:
    r"""Positive where some value is: $a + b + \sqrt{a^2 + b^2}$, repeated."""
    return -conjunction([-value for value in values])
