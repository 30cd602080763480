"""Kovasznay's flow: the stationary Navier-Stokes equations behind a grid.

    (v · ∇) v + ∇p - Δv / Re = 0   in (-1/2, 1) x (-1/2, 3/2),   Re = 40,
                       ∇ · v = 0,
                           v = g   on the boundary,
                        ∫ p dx = the integral of the exact pressure.

With λ = Re/2 - (Re²/4 + 4π²)^(1/2) the exact solution is

    v = (1 - e^(λx) cos 2πy,  λ/(2π) e^(λx) sin 2πy),    p = (1 - e^(2λx)) / 2.

The unknown is one field with the three components (v₁, v₂, p), and the velocity is what
is observed. Velocity boundary values leave the pressure free up to a constant. Its
mean fixes the constant and tells nothing else of p: the condition "mean pressure" is
one number, the mean of p over the domain by a Gauss rule less the exact mean in closed
form. A condition has a residual at every point of a region, so that number is repeated
on the points of the left edge; in the loss it counts once, as its square times the
length of the edge.
"""

import math

import jax
import jax.numpy as jnp

import sobng as sn


RE = 40.0
LAMBDA = RE / 2 - math.sqrt(RE**2 / 4 + 4 * math.pi**2)
# The mean over -1/2 < x < 1 of (1 - e^(2 λ x)) / 2, which does not depend on y.
MEAN_PRESSURE = 0.5 - (math.exp(2 * LAMBDA) - math.exp(-LAMBDA)) / (6 * LAMBDA)

channel = sn.Box((-0.5, -0.5), (1.0, 1.5))


def exact_velocity(x):
    growth, angle = jnp.exp(LAMBDA * x[0]), 2 * jnp.pi * x[1]
    along = 1.0 - growth * jnp.cos(angle)
    across = LAMBDA / (2 * jnp.pi) * growth * jnp.sin(angle)
    return jnp.stack([along, across])


def exact(x):
    pressure = (1.0 - jnp.exp(2 * LAMBDA * x[0])) / 2
    return jnp.append(exact_velocity(x), pressure)


def navier_stokes(u, x, args):
    velocity = u(x)[:2]
    derivatives = sn.jacobian(u)(x)  # [3, 2], a row for each of v1, v2 and p
    spread = sn.laplacian(lambda y: u(y)[:2])(x) / RE
    momentum = derivatives[:2] @ velocity + derivatives[2] - spread
    return jnp.append(momentum, derivatives[0, 0] + derivatives[1, 1])


def mean_pressure(u, x, args):
    # Any rule that is exact for the exact pressure fixes the constant equally well.
    points, weights = channel.interior.quadrature(100)
    pressures = jax.vmap(u)(jnp.asarray(points, x.dtype))[:, 2]
    mean = jnp.asarray(weights / channel.measure, x.dtype) @ pressures
    return mean - MEAN_PRESSURE


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network. By default sobng chooses a field for
        the default strategy, and all parameters of two layers of 20 move: at 2 x 64 a
        dense step takes a minute.
    """
    problem = sn.Problem(
        sn.Condition(navier_stokes, channel.interior, name="navier-stokes"),
        sn.Dirichlet(
            channel.boundary, exact_velocity, component=(0, 1), name="velocity"
        ),
        sn.Condition(mean_pressure, channel.part("left"), name="mean pressure"),
        out=3,
    )
    depth = 2 if depth is None and stages == "all-parameters" else depth
    own = width is not None or depth is not None
    wide = (20 if depth == 2 else 64) if width is None else width
    deep = 1 if depth is None else depth
    mlp = lambda key: sn.MLP(dim=2, out=3, width=wide, depth=deep, key=key)
    return sn.Case(
        "kovasznay",
        problem,
        mlp if own else None,
        reference=exact_velocity,
        observe=(0, 1),
        options={"stages": sn.strategy(stages)},
        accuracy=1e-7,
        tags=("nonlinear", "smooth", "system"),
    )
