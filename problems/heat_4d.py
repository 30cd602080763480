"""The heat equation on the four-dimensional unit cube.

    u_t = Δu / 4            in (0, 1)⁴, 0 < t < 1,
      u = Σ sin(2xᵢ)        at t = 0,
      u = e⁻ᵗ Σ sin(2xᵢ)    on the walls,

with the exact solution u = e⁻ᵗ Σ sin(2xᵢ). A point of space-time has five coordinates.
"""

import jax.numpy as jnp

import sobng as sn


cube = sn.Box((0.0,) * 4, (1.0,) * 4)


def exact(t, x):
    return jnp.exp(-t) * jnp.sum(jnp.sin(2 * x))


def heat(u, t, x, args):
    return sn.laplacian(u)(x) / 4


evolution = sn.Evolution(
    heat,
    lambda x: exact(0.0, x),
    cube,
    boundary=[sn.Dirichlet(cube.boundary, exact, name="walls")],
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
        return sn.MLP(dim=4, key=key, **sizes)

    def space_time_field(key):
        return sn.MLP(dim=5, key=key, **sizes)

    whole = sn.Case(
        "heat_4d",
        evolution,
        field if sizes else None,
        reference=exact,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-4,
        tags=("linear", "smooth", "high_dim", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
