"""Poisson's equation with four scales.

    -Δu = f   in (0, 1)²,
      u = 0   on the boundary,

with f from the exact solution u = ¼ Σ sin(ωπx) sin(ωπy) over ω = 4, 8, 12, 16. In f the
highest frequency is sixteen times as large as the lowest: the loss sees little of the
latter, of which the error is made.
"""

import jax.numpy as jnp

import sobng as sn


square = sn.Box((0.0, 0.0), (1.0, 1.0))


def case(*, frequencies=(4, 8, 12, 16), stages="default", width=None, depth=None):
    """**Arguments:**

    - `frequencies`: positive integers ω, the half waves along either axis.
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    whole = isinstance(frequencies, tuple | list) and len(frequencies) > 0
    if not (whole and all(isinstance(n, int) and n > 0 for n in frequencies)):
        raise ValueError(
            f"`frequencies` are positive integers, as in `(4, 8)`. Got {frequencies!r}."
        )
    # Not jnp.array: at import, and so before the run chooses its precision.
    waves = [(n * jnp.pi) for n in frequencies]

    def mean(of):
        return sum(of(w) for w in waves) / len(waves)

    def exact(x):
        return mean(lambda w: jnp.sin(w * x[0]) * jnp.sin(w * x[1]))

    def poisson(u, x, args):
        source = mean(lambda w: 2 * w**2 * jnp.sin(w * x[0]) * jnp.sin(w * x[1]))
        return sn.laplacian(u)(x) + source

    problem = sn.Problem(
        sn.Condition(poisson, square.interior, name="poisson"),
        sn.Dirichlet(square.boundary, 0.0, name="wall"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=2, key=key, **sizes)) if sizes else None
    return sn.Case(
        "multiscale_poisson_2d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-8,
        tags=("linear", "oscillatory"),
    )
