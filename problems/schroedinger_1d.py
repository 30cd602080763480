"""The nonlinear Schroedinger equation: a breather in a periodic box.

    i h_t + h_xx / 2 + |h|² h = 0   in -15 < x < 15, periodic, 0 < t < π/2,
                          h = 2 sech x   at t = 0.

The unknown is (Re h, Im h). The solution of the whole line differs by 5e-7.
The reference is made by `references/fourier.py`: spectral solutions of two resolutions and
two step sizes, which agree to 3e-10 at the end.
"""

import pathlib

import jax.numpy as jnp

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "schroedinger_1d.npz"

circle = sn.Interval(-15.0, 15.0)


def schroedinger(u, t, x, args):
    real, imaginary = u(x)
    curvature = sn.partial(u, 0, 0)(x)
    square = real**2 + imaginary**2
    return jnp.stack(
        [
            -curvature[1] / 2 - square * imaginary,
            curvature[0] / 2 + square * real,
        ]
    )


evolution = sn.Evolution(
    schroedinger,
    lambda x: jnp.stack([2 / jnp.cosh(x[0]), 0.0 * x[0]]),
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
    reference = sn.FourierSeries.load(REFERENCE, (-15.0,), (15.0,), both=True)

    def field(key):
        inner = sn.MLP(dim=2, out=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 30.0})

    def space_time_field(key):
        inner = sn.MLP(dim=3, out=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {1: 30.0}, bounds={0: (0.0, jnp.pi / 2)})

    whole = sn.Case(
        "schroedinger_1d",
        evolution,
        field if sizes else None,
        reference=reference,
        options={"t0": 0.0, "t1": jnp.pi / 2},
        accuracy=1e-6,
        tags=("nonlinear", "dispersive", "system", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
