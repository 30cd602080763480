"""Whether a field is smooth enough for a metric, as far as a line across it shows, and
positive enough."""

import equinox as eqx
import jax
import jax.core
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from sobng.fields.partition import combine
from sobng.metrics.gram import measured
from sobng.metrics.metric import fields, Values
from sobng.system import System
from sobng.typing import Points


NUM = 4097
"""Points on the line: of a wave they see a thousand periods."""


def check_smooth(
    name: str, system: System, points: Points, entry: str | None, order: float | int
) -> None:
    r"""Raises `ValueError` if the field does not move within the Sobolev space $H^s$.

    Functions that jump are in it for $s < 1/2$ only, functions with a kink for $s < 3/2$.
    Both are looked for in the derivative of the field in its parameters, in one random
    direction, along a diagonal of the points; rougher higher derivatives are not, and
    nothing is where the arrays are not known yet.
    """
    if isinstance(points, jax.core.Tracer):
        return
    host = np.asarray(points)
    lower, upper = np.min(host, axis=0), np.max(host, axis=0)
    line = lower + np.linspace(0, 1, NUM, dtype=host.dtype)[:, None] * (upper - lower)
    along = _motion(system.params, system.rest, jnp.asarray(line), entry)
    if isinstance(along, jax.core.Tracer):
        return
    values = np.asarray(along)
    rounding = 1e3 * np.finfo(values.dtype).eps * np.max(np.abs(values), initial=0.0)

    def difference(times, step):
        rows = np.diff(values[::step], times, axis=0)
        return np.max(np.abs(rows), initial=0.0)

    # For half the step a smooth function has 1/2 of the first difference and 1/4 of the
    # second, a jump all of the first, a kink 1/2 of the second.
    faults = {"jumps": (0.5, 1, 0.75), "kinks": (1.5, 2, 0.35)}
    for fault, (least, times, share) in faults.items():
        coarse, fine = difference(times, 2), difference(times, 1)
        if order >= least and coarse > rounding and fine > share * coarse:
            raise ValueError(
                f"`{name}` measures functions without {fault}, and the derivative of this "
                f"field in its parameters has {fault}. Use smooth activations (`jnp.tanh` "
                "instead of a ReLU) and smooth factors, or a metric of lower order."
            )


def check_density(name: str, system: System, points, entry: str | None) -> None:
    """Raises `ValueError` if a field is not positive, where its values are known."""
    unknown = measured(system.unknown(system.params), entry)
    for u in fields(unknown):
        values = jax.vmap(u)(points)
        if isinstance(values, jax.core.Tracer):
            continue
        least = float(jnp.min(values))
        if not least > 0:
            raise ValueError(
                f"`{name}` is a metric of densities, and the least value of the field is "
                f"{least:.3g}. Use a field that is positive by construction, for instance "
                "the exponential of a network."
            )


@eqx.filter_jit
def _motion(params, rest, points, entry) -> Float[Array, "n entries"]:
    """The derivative of the fields in the parameters, in one random direction."""
    flat, unravel = jfu.ravel_pytree(params)
    direction = jr.normal(jr.key(0), flat.shape, flat.dtype)

    def values(flat, x):
        unknown = measured(combine(unravel(flat), rest), entry)
        return Values()(unknown, x, None)

    def motion(x):
        return jax.jvp(lambda f: values(f, x), (flat,), (direction,))[1]

    return jax.vmap(motion)(points)
