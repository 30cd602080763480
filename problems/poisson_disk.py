"""Poisson's equation on the unit disk, with boundary values that vary.

    -Δu = f   in r < 1,
      u = g   on r = 1,

where f and g come from the exact solution u = eˣ sin(3y) + (1 - r²) cos(2x). Smooth, on
a domain with a curved boundary.
"""

import jax.numpy as jnp

import sobng as sn


disk = sn.Disk((0.0, 0.0), 1.0)


def exact(x):
    bubble = 1.0 - x[0] ** 2 - x[1] ** 2
    return jnp.exp(x[0]) * jnp.sin(3.0 * x[1]) + bubble * jnp.cos(2.0 * x[0])


def poisson(u, x, args):
    return sn.laplacian(u)(x) - sn.laplacian(exact)(x)


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    problem = sn.Problem(
        sn.Condition(poisson, disk.interior, name="poisson"),
        sn.Dirichlet(disk.boundary, exact, name="rim"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "poisson_disk",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-10,
        tags=("linear", "smooth", "curved"),
    )
