"""The heat equation on an interval.

    u_t = u_xx / 4   in 0 < x < 1, 0 < t < 1,
      u = sin(πx)    at t = 0,
      u = 0          at x = 0 and x = 1,

with the exact solution u = exp(-π² t / 4) sin(πx). Smooth. The route "space-time" takes
time for one more coordinate, x = (t, x₁), and solves for all times at once.
"""

import jax.numpy as jnp

import sobng as sn


cylinder = sn.SpaceTime(sn.Interval(0.0, 1.0), sn.Interval(0.0, 1.0))


def exact(x):
    return jnp.exp(-(jnp.pi**2) / 4 * x[0]) * jnp.sin(jnp.pi * x[1])


def heat(u, x, args):
    return sn.partial(u, 0)(x) - sn.partial(u, 1, 1)(x) / 4


def case(*, route="space-time", stages="default", width=None, depth=None):
    """**Arguments:**

    - `route`: "space-time".
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    if route != "space-time":
        raise ValueError(f"`route` is 'space-time'. Got {route!r}.")
    problem = sn.Problem(
        sn.Condition(heat, cylinder.interior, name="heat"),
        sn.Dirichlet(
            cylinder.initial, lambda x: jnp.sin(jnp.pi * x[1]), name="initial"
        ),
        sn.Dirichlet(cylinder.lateral, 0.0, name="walls"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "heat_1d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-11,
        tags=("linear", "smooth", "time"),
    )
