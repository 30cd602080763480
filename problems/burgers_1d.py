"""Burgers' equation: a wave that steepens to a front.

    u_t + u u_x = ν u_xx   in -1 < x < 1, periodic, 0 < t < 1,
              u = -sin(πx)   at t = 0,

where the option `viscosity` is ν = 0.01/π, 0.01 or 1e-3, say. At t = 0.4 a front of width
4ν has formed at x = 0. The reference is the formula of Cole and Hopf by Gauss-Hermite
quadrature with 200 nodes, which agrees with 300 nodes to 1e-15.
"""

import jax.numpy as jnp
import numpy as np

import sobng as sn


circle = sn.Interval(-1.0, 1.0)


def cole_hopf(t, x, viscosity, num=200):
    nodes, weights = np.polynomial.hermite.hermgauss(num)
    y = x[0] - jnp.sqrt(4 * viscosity * t) * jnp.asarray(nodes, x.dtype)
    # Exponentials of up to 1/ν, of which only ratios matter.
    power = -jnp.cos(jnp.pi * y) / (2 * jnp.pi * viscosity)
    mass = jnp.asarray(weights, x.dtype) * jnp.exp(power - jnp.max(power))
    return -jnp.sum(mass * jnp.sin(jnp.pi * y)) / jnp.sum(mass)


def case(
    *, route="evolve", stages="default", width=None, depth=None, viscosity=0.01 / np.pi
):
    """**Arguments:**

    - `route`: "evolve", or "space-time" for all times at once.
    - `stages`: the strategy of the latter, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    - `viscosity`: a positive number ν.
    """
    if route not in ("evolve", "space-time"):
        raise ValueError(f"`route` is 'evolve' or 'space-time'. Got {route!r}.")
    strategy = sn.strategy(stages)
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    number = isinstance(viscosity, int | float) and not isinstance(viscosity, bool)
    if not (number and viscosity > 0):
        raise ValueError(f"`viscosity` is a positive number. Got {viscosity!r}.")

    def burgers(u, t, x, args):
        return viscosity * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)

    def exact(t, x):
        return cole_hopf(t, x, viscosity)

    evolution = sn.Evolution(
        burgers,
        lambda x: -jnp.sin(jnp.pi * x[0]),
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )

    def field(key):
        inner = sn.MLP(dim=2, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {0: 2.0})

    def space_time_field(key):
        inner = sn.MLP(dim=3, key=key, **sizes)
        return sn.PeriodicEmbedding(inner, {1: 2.0}, bounds={0: (0.0, 1.0)})

    whole = sn.Case(
        "burgers_1d",
        evolution,
        field if sizes else None,
        reference=exact,
        options={"t0": 0.0, "t1": 1.0},
        accuracy=1e-7,
        tags=("nonlinear", "front", "time"),
    )
    if route == "evolve":
        return whole
    return whole.space_time(space_time_field if sizes else None, stages=strategy)
