"""The Allen-Cahn equation: two phases and thin walls between them.

    u_t = 1e-4 u_xx - 5 (u³ - u)   in -1 < x < 1, periodic, 0 < t < 1,
      u = x² cos(πx)               at t = 0.

The periodic extension of the initial values has a kink at the ends, which the equation
smooths out.
The reference is made by `references/fourier.py`: spectral solutions of two resolutions and
two step sizes, which agree to 4e-11 at the end.
"""

import pathlib

import jax.numpy as jnp

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "allen_cahn_1d.npz"

circle = sn.Interval(-1.0, 1.0)


def allen_cahn(u, t, x, args):
    return 1e-4 * sn.laplacian(u)(x) - 5 * (u(x) ** 3 - u(x))


evolution = sn.Evolution(
    allen_cahn,
    lambda x: x[0] ** 2 * jnp.cos(jnp.pi * x[0]),
    circle,
    boundary=[sn.Periodic(circle, 0)],
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
    reference = sn.FourierSeries.load(REFERENCE, (-1.0,), (1.0,))

    def field(key):
        inner = sn.MLP(dim=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 2.0})

    def space_time_field(key):
        inner = sn.MLP(dim=3, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {1: 2.0}, bounds={0: (0.0, 1.0)})

    whole = sn.Case(
        "allen_cahn_1d",
        evolution,
        field if sizes else None,
        reference=reference,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-6,
        tags=("nonlinear", "front", "stiff", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
