"""Laplace's equation on the ten-dimensional unit cube.

    Δu = 0   in (0, 1)¹⁰,
     u = g   on the boundary,

where g comes from the exact solution u = (x₁x₂ + x₃x₄ + ... + x₉x₁₀) / 1.34. The field is
told nothing of the solution being quadratic, nor of which coordinates go together.
"""

import jax.numpy as jnp

import sobng as sn


DIM = 10

cube = sn.Box((0.0,) * DIM, (1.0,) * DIM)


def exact(x):
    return jnp.sum(x[::2] * x[1::2]) / 1.34


def laplace(u, x, args):
    return sn.laplacian(u)(x)


problem = sn.Problem(
    sn.Condition(laplace, cube.interior, name="laplace"),
    sn.Dirichlet(cube.boundary, exact, name="wall"),
)


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a sine network; sobng chooses a field by default.
    """
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}

    def field(key):
        return sn.MLP(dim=DIM, activation=jnp.sin, key=key, **sizes)

    return sn.Case(
        "poisson_10d",
        problem,
        field if sizes else None,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-4,
        tags=("linear", "smooth", "high_dim"),
    )
