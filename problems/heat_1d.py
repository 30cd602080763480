"""The heat equation on an interval.

    u_t = u_xx / 4   in 0 < x < 1, 0 < t < 1,
      u = sin(πx)    at t = 0,
      u = 0          at x = 0 and x = 1,

with the exact solution u = exp(-π² t / 4) sin(πx). Linear and smooth: features of space
whose coefficients obey a linear equation, solved exactly, take it to rounding.
"""

import jax.numpy as jnp

import sobng as sn


rod = sn.Interval(0.0, 1.0)


def exact(t, x):
    return jnp.exp(-(jnp.pi**2) / 4 * t) * jnp.sin(jnp.pi * x[0])


def heat(u, t, x, args):
    return sn.laplacian(u)(x) / 4


evolution = sn.Evolution(
    heat,
    lambda x: jnp.sin(jnp.pi * x[0]),
    rod,
    boundary=[sn.Dirichlet(rod.boundary, 0.0, name="walls")],
)


def case(*, route="evolve", stages="default", width=None, depth=None):
    """**Arguments:**

    - `route`: "evolve", or "space-time" for all times at once.
    - `stages`: the strategy of the latter, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    if route not in ("evolve", "space-time"):
        raise ValueError(f"`route` is 'evolve' or 'space-time'. Got {route!r}.")
    strategy = sn.strategy(stages)
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}

    def field(key):
        return sn.MLP(dim=1, key=key, **sizes)

    def space_time_field(key):
        return sn.MLP(dim=2, key=key, **sizes)

    whole = sn.Case(
        "heat_1d",
        evolution,
        field if sizes else None,
        reference=exact,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-11,
        tags=("linear", "smooth", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
