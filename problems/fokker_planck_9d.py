"""The logarithm of a density that diffuses, in nine dimensions.

    q_t = d/2 + ∇q·x/2 + |∇q|² + Δq   in (-5, 5)⁹, 0 < t < 1,
      q = log N(0, I)                 at t = 0,

with the exact solution q = log N(0, (2 - e⁻ᵗ) I). No boundary condition. The field is told
nothing of the solution being quadratic.
"""

import jax.numpy as jnp

import sobng as sn


DIM = 9

cube = sn.Box((-5.0,) * DIM, (5.0,) * DIM)


def exact(t, x):
    variance = 2 - jnp.exp(-t)
    return -0.5 * (DIM * jnp.log(2 * jnp.pi * variance) + jnp.sum(x**2) / variance)


def fokker_planck(u, t, x, args):
    slope = sn.gradient(u)(x)
    return DIM / 2 + slope @ x / 2 + slope @ slope + sn.laplacian(u)(x)


evolution = sn.Evolution(fokker_planck, lambda x: exact(0.0, x), cube)


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
        return sn.MLP(dim=9, key=key, **sizes)

    def space_time_field(key):
        return sn.MLP(dim=10, key=key, **sizes)

    whole = sn.Case(
        "fokker_planck_9d",
        evolution,
        field if sizes else None,
        reference=exact,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-4,
        tags=("nonlinear", "high_dim", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
