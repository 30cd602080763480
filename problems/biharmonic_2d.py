"""The biharmonic equation on the unit square: a clamped plate.

       Δ²u = f   in (0, 1)²,
         u = 0   on the boundary,
    ∂u/∂ν = 0   on the boundary,

with f = 4π⁴ (4 cos 2πx cos 2πy - cos 2πx - cos 2πy) from the exact solution
u = sin²(πx) sin²(πy). Smooth; fourth derivatives.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((0.0, 0.0), (1.0, 1.0))


def exact(x):
    return jnp.sin(jnp.pi * x[0]) ** 2 * jnp.sin(jnp.pi * x[1]) ** 2


def plate(u, x, args):
    c, d = jnp.cos(2 * jnp.pi * x[0]), jnp.cos(2 * jnp.pi * x[1])
    return sn.biharmonic(u)(x) - 4 * jnp.pi**4 * (4 * c * d - c - d)


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    problem = sn.Problem(
        sn.Condition(plate, square.interior, name="plate"),
        sn.Dirichlet(square.boundary, 0.0, name="wall"),
        sn.Neumann(square.boundary, 0.0, name="clamp"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "biharmonic_2d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-10,
        tags=("linear", "smooth", "fourth_order"),
    )
