"""The Korteweg-de Vries equation: a cosine that breaks up into solitons.

    u_t + u u_x + 0.022² u_xxx = 0   in -1 < x < 1, periodic, 0 < t < 1,
                             u = cos(πx)   at t = 0.

Dispersive: third derivatives that oscillate and do not decay.
The reference is made by `references/fourier.py`: spectral solutions of two resolutions and
two step sizes, which agree to 3e-12 at the end.
"""

import pathlib

import jax.numpy as jnp

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "kdv_1d.npz"

circle = sn.Interval(-1.0, 1.0)


def kdv(u, t, x, args):
    return -u(x) * sn.partial(u, 0)(x) - 0.022**2 * sn.partial(u, 0, 0, 0)(x)


evolution = sn.Evolution(
    kdv, lambda x: jnp.cos(jnp.pi * x[0]), circle, boundary=[sn.Periodic(circle, 0)]
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
        "kdv_1d",
        evolution,
        field if sizes else None,
        reference=reference,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-6,
        tags=("nonlinear", "dispersive", "stiff", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
