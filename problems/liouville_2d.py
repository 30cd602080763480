"""Liouville's equation on the unit square.

    Δu - eᵘ = f   in (0, 1)²,
          u = g   on the boundary,

where f and g come from the exact solution u = 1 + sin(4πx) cos(4πy). Non-linear, with
two full waves in either direction; monotone, so the solution is unique.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((0.0, 0.0), (1.0, 1.0))


def exact(x):
    return 1.0 + jnp.sin(4 * jnp.pi * x[0]) * jnp.cos(4 * jnp.pi * x[1])


def liouville(u, x, args):
    value = exact(x)
    source = -32 * jnp.pi**2 * (value - 1.0) - jnp.exp(value)
    return sn.laplacian(u)(x) - jnp.exp(u(x)) - source


def case(*, stages="default", width=None, depth=None):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    problem = sn.Problem(
        sn.Condition(liouville, square.interior, name="liouville"),
        sn.Dirichlet(square.boundary, exact, name="wall"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "liouville_2d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-7,
        tags=("nonlinear", "smooth", "oscillatory"),
    )
