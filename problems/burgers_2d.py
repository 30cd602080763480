"""Burgers' equation on a torus.

    u_t = Δu / 10 - u (u_x + u_y)   in (0, 2π)², periodic, 0 < t < 4,

from the initial values of the TENG papers, a sum of four exponentials of sines.
The reference is made by `references/fourier.py`: spectral solutions of two resolutions and
two step sizes, which agree to 4e-14 at the end.
"""

import pathlib

import jax.numpy as jnp

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "burgers_2d.npz"

torus = sn.Box((0.0, 0.0), (2 * jnp.pi, 2 * jnp.pi))


def initial(x):
    a, b = jnp.sin(x)
    rising = jnp.exp(3 * a + b) + jnp.exp(-3 * a + b)
    return (rising - jnp.exp(3 * a - b) - jnp.exp(-3 * a - b)) / 100


def rhs(u, t, x, args):
    return sn.laplacian(u)(x) / 10 - u(x) * jnp.sum(sn.gradient(u)(x))


evolution = sn.Evolution(
    rhs, initial, torus, boundary=[sn.Periodic(torus, 0), sn.Periodic(torus, 1)]
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
    reference = sn.FourierSeries.load(REFERENCE, (0.0, 0.0), (2 * jnp.pi, 2 * jnp.pi))

    def field(key):
        inner = sn.MLP(dim=4, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 2 * jnp.pi, 1: 2 * jnp.pi})

    def space_time_field(key):
        inner = sn.MLP(dim=5, key=key, **sizes)
        return sn.PeriodicEmbedding(
            inner, {1: 2 * jnp.pi, 2: 2 * jnp.pi}, bounds={0: (0.0, 4.0)}
        )

    whole = sn.Case(
        "burgers_2d",
        evolution,
        field if sizes else None,
        reference=reference,
        options={"t0": 0.0, "t1": 4.0},
        accuracy=1e-7,
        tags=("nonlinear", "smooth", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
