"""Helmholtz' equation on a square.

    Δu + k² u = f   in (-1, 1)²,
           u = 0   on the boundary,

with f = (k² - (a₁² + a₂²) π²) u from the exact solution u = sin(a₁πx) sin(a₂πy). It
oscillates: at the default a = (1, 4) four waves fit into the square, and a field whose
first layer is too smooth does not see them. Indefinite only for k² > π²/2.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((-1.0, -1.0), (1.0, 1.0))


def case(*, a=(1, 4), k=1, stages="default", width=None, depth=None):
    """**Arguments:**

    - `a`: two positive integers, the half waves in a unit length of either axis.
    - `k`: the wave number; k² should keep away from the eigenvalues (m² + n²) π²/4.
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    whole = isinstance(a, tuple | list) and all(isinstance(n, int) for n in a)
    if not (whole and len(a) == 2 and min(a) > 0):
        raise ValueError(
            f"`a` is a pair of positive integers, as in `(1, 4)`. Got {a!r}."
        )
    if isinstance(k, bool) or not isinstance(k, int | float):
        raise ValueError(f"`k` is a number. Got {k!r}.")

    def exact(x):
        return jnp.sin(a[0] * jnp.pi * x[0]) * jnp.sin(a[1] * jnp.pi * x[1])

    def helmholtz(u, x, args):
        source = (k**2 - (a[0] ** 2 + a[1] ** 2) * jnp.pi**2) * exact(x)
        return sn.laplacian(u)(x) + k**2 * u(x) - source

    problem = sn.Problem(
        sn.Condition(helmholtz, square.interior, name="helmholtz"),
        sn.Dirichlet(square.boundary, 0.0, name="wall"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "helmholtz_2d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-8,
        tags=("linear", "smooth", "oscillatory"),
    )
