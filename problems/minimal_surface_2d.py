"""The surface of least area over a square, above a given curve.

    minimise  ∫ √(1 + |∇u|²)  over [-1, 1]²,   u = g on the boundary,

with g from Scherk's surface, u = log(cos y / cos x). The energy is convex, and its
curvature falls where the surface is steep.

The usual extension of the boundary values, transfinite interpolation, is exact for the
sum of a function of x and one of y, and so would be the solution itself. Here opposite
sides are blended by ((1 - x)/2)² and ((1 + x)/2)² instead, which takes the same values on
the boundary and misses the solution by half of its size inside. The field is that plus
a network of random sine features times a factor that vanishes on the boundary; its last
layer alone is solved for, by a few Newton steps from zero.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((-1.0, -1.0), (1.0, 1.0))


def exact(x):
    return jnp.log(jnp.cos(x[1])) - jnp.log(jnp.cos(x[0]))


def density(u, x, args):
    slope = sn.gradient(u)(x)
    return jnp.sqrt(1 + slope @ slope)


def lift(x):
    """From the values on the four sides, which vanish in the corners."""
    one = jnp.ones((), x.dtype)
    left, right = exact(jnp.stack([-one, x[1]])), exact(jnp.stack([one, x[1]]))
    bottom, top = exact(jnp.stack([x[0], -one])), exact(jnp.stack([x[0], one]))
    low, high = ((1 - x) / 2) ** 2, ((1 + x) / 2) ** 2
    return low[0] * left + high[0] * right + low[1] * bottom + high[1] * top


def case(*, stages="default", width=500, depth=1):
    """**Arguments:**

    - `stages`: the strategy; the last layer alone for "default".
    - `width`, `depth`: the size of the sine network.
    """
    boundary = sn.Dirichlet(square.boundary, exact, name="boundary")

    def field(key):
        network = sn.MLP(
            dim=2,
            width=width,
            depth=depth,
            activation=jnp.sin,
            domain=square,
            bandwidth=3.5,
            key=key,
        )
        factor = square.boundary.factor
        return sn.Constrained(network, lift, factor, satisfies="boundary")

    chosen = (sn.LastLayer(),) if stages == "default" else sn.strategy(stages)
    return sn.Case(
        "minimal_surface_2d",
        sn.Energy(density, square, conditions=[boundary]),
        field,
        reference=exact,
        options={"stages": chosen, "collocation": 2500},
        accuracy=1e-8,
        tags=("energy", "nonlinear", "smooth"),
    )
