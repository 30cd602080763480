"""A non-linear variational problem on an interval, with natural ends.

    minimise  ∫ u'² / 2 + u⁴ / 4 - f u  over (-1, 1),   f = π² cos(πx) + cos³(πx).

No value is prescribed anywhere: the minimiser obeys -u'' + u³ = f with u' = 0 at both
ends by itself, and is u = cos(πx). The energy is convex, so there is no other. Its
least value is not zero, and rounding in it hides errors of the field below about 1e-8
from any method that only compares energies; sobng's takes the slope along a step there.
The metric of H1 does as well as the energy's: 7e-11 in H1 after 190 steps, where that one
comes to 3e-11 to 1.4e-10 (seeds 0 to 4).
"""

import jax.numpy as jnp

import sobng as sn


interval = sn.Interval(-1.0, 1.0)


def exact(x):
    return jnp.cos(jnp.pi * x[0])


def density(u, x, args):
    value, slope = u(x), sn.partial(u, 0)(x)
    source = jnp.pi**2 * exact(x) + exact(x) ** 3
    return slope**2 / 2 + value**4 / 4 - source * value


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=1, key=key, **sizes)) if sizes else None
    return sn.Case(
        "ritz_1d",
        sn.Energy(density, interval),
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-7,
        tags=("energy", "nonlinear", "smooth"),
    )
