"""Poisson's equation on the unit square.

    -Δu = 2π² sin(πx) sin(πy)   in (0, 1)²,
      u = 0                      on the boundary,

with the exact solution u = sin(πx) sin(πy). The standard first test: smooth, no layers.
`boundary="exact"` builds the walls into the field; `boundary="penalty"` adds them to
the loss, which costs a digit or two and is what most other codes do.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((0.0, 0.0), (1.0, 1.0))


def exact(x):
    return jnp.sin(jnp.pi * x[0]) * jnp.sin(jnp.pi * x[1])


def poisson(u, x, args):
    return sn.laplacian(u)(x) + 2 * jnp.pi**2 * exact(x)


def case(*, boundary="exact", stages="default", width=None, depth=None):
    """**Arguments:**

    - `boundary`: "exact" or "penalty".
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    if boundary not in ("exact", "penalty"):
        raise ValueError(f"`boundary` is 'exact' or 'penalty'. Got {boundary!r}.")
    problem = sn.Problem(
        sn.Condition(poisson, square.interior, name="poisson"),
        sn.Dirichlet(square.boundary, 0.0, exact=boundary == "exact", name="wall"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "poisson_2d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-11 if boundary == "exact" else 1e-9,
        tags=("linear", "smooth"),
    )
