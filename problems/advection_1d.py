"""A wave that travels around a circle.

    u_t + c u_x = 0      in 0 < x < 2π, periodic, 0 < t < 10,
              u = exp(sin x)   at t = 0,

with the exact solution u = exp(sin(x - ct)). Linear, smooth, nothing decays: what is lost
early is lost for ever.
"""

import jax.numpy as jnp

import sobng as sn


circle = sn.Interval(0.0, 2 * jnp.pi)


def case(*, route="evolve", stages="default", width=None, depth=None, speed=1):
    """**Arguments:**

    - `route`: "evolve", or "space-time" for all times at once.
    - `stages`: the strategy of the latter, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    - `speed`: the speed c.
    """
    if route not in ("evolve", "space-time"):
        raise ValueError(f"`route` is 'evolve' or 'space-time'. Got {route!r}.")
    strategy = sn.strategy(stages)
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise ValueError(f"`speed` is a number. Got {speed!r}.")

    def advection(u, t, x, args):
        return -speed * sn.partial(u, 0)(x)

    def exact(t, x):
        return jnp.exp(jnp.sin(x[0] - speed * t))

    evolution = sn.Evolution(
        advection,
        lambda x: jnp.exp(jnp.sin(x[0])),
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )

    def field(key):
        inner = sn.MLP(dim=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 2 * jnp.pi})

    def space_time_field(key):
        inner = sn.MLP(dim=3, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {1: 2 * jnp.pi}, bounds={0: (0.0, 10.0)})

    whole = sn.Case(
        "advection_1d",
        evolution,
        field if sizes else None,
        reference=exact,
        options={"t0": 0.0, "t1": 10.0},
        accuracy=1e-9,
        tags=("linear", "smooth", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
