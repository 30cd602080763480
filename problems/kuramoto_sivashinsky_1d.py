"""The Kuramoto-Sivashinsky equation, chaotic.

    u_t + 6.25 u u_x + 0.390625 u_xx + (100/16⁴) u_xxxx = 0   in 0 < x < 2π, periodic, t < 1,
                                                      u = cos x (1 + sin x)   at t = 0.

Small differences grow by up to e²⁵ in this time, so that rounding alone limits what is
meant by a solution at the end.
The reference is made by `references/fourier.py`: spectral solutions of two resolutions and
two step sizes, which agree to 3e-9 at the end, in extended precision.
"""

import pathlib

import jax.numpy as jnp

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "kuramoto_sivashinsky_1d.npz"

circle = sn.Interval(0.0, 2 * jnp.pi)


def kuramoto_sivashinsky(u, t, x, args):
    slope, curvature = sn.partial(u, 0)(x), sn.partial(u, 0, 0)(x)
    fourth = sn.partial(u, 0, 0, 0, 0)(x)
    return -6.25 * u(x) * slope - 0.390625 * curvature - 100 / 16**4 * fourth


evolution = sn.Evolution(
    kuramoto_sivashinsky,
    lambda x: jnp.cos(x[0]) * (1 + jnp.sin(x[0])),
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
    reference = sn.FourierSeries.load(REFERENCE, (0.0,), (2 * jnp.pi,))

    def field(key):
        inner = sn.MLP(dim=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 2 * jnp.pi})

    def space_time_field(key):
        inner = sn.MLP(dim=3, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {1: 2 * jnp.pi}, bounds={0: (0.0, 1.0)})

    whole = sn.Case(
        "kuramoto_sivashinsky_1d",
        evolution,
        field if sizes else None,
        reference=reference,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-5,
        tags=("nonlinear", "chaotic", "stiff", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
