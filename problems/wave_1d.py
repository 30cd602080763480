"""The wave equation on a string, at rest in the beginning.

    u_tt = 4 u_xx                        in 0 < x < 1, 0 < t < 1,
       u = sin(πx) + sin(4πx)/2, u_t = 0   at t = 0,
       u = 0                             at x = 0 and x = 1,

with the exact solution u = sin(πx) cos(2πt) + sin(4πx) cos(8πt)/2, of which u alone is
observed. Stated as a system for (u, u_t).
"""

import jax.numpy as jnp

import sobng as sn


string = sn.Interval(0.0, 1.0)


def exact(t, x):
    """(u, u_t)."""
    first, fourth = jnp.sin(jnp.pi * x[0]), jnp.sin(4 * jnp.pi * x[0])
    slow, fast = 2 * jnp.pi * t, 8 * jnp.pi * t
    value = first * jnp.cos(slow) + fourth * jnp.cos(fast) / 2
    speed = -2 * jnp.pi * (first * jnp.sin(slow) + 2 * fourth * jnp.sin(fast))
    return jnp.stack([value, speed])


def acceleration(u, t, x, args):
    return 4 * sn.laplacian(u)(x)


evolution = sn.second_order(
    acceleration,
    lambda x: jnp.sin(jnp.pi * x[0]) + jnp.sin(4 * jnp.pi * x[0]) / 2,
    lambda x: 0.0 * x[0],
    string,
    boundary=[sn.Dirichlet(string.boundary, 0.0, name="walls")],
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
        return sn.MLP(dim=1, out=2, key=key, **sizes)

    def space_time_field(key):
        return sn.MLP(dim=2, out=2, key=key, **sizes)

    whole = sn.Case(
        "wave_1d",
        evolution,
        field if sizes else None,
        reference=lambda t, x: exact(t, x)[0],
        observe=0,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-11,
        tags=("linear", "oscillatory", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
