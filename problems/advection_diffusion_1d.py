"""Advection and diffusion on an interval, with a boundary layer.

    -ε u'' + u' = 1   in (0, 1),
              u = 0   at x = 0 and x = 1,

with the exact solution u = x - (e^((x-1)/ε) - e^(-1/ε)) / (1 - e^(-1/ε)). The layer at
x = 1 is about ε wide: the option `diffusion` sets ε, by default 0.01.
"""

import math

import jax.numpy as jnp

import sobng as sn


interval = sn.Interval(0.0, 1.0)


def case(*, diffusion=1e-2, stages="default", width=None, depth=None):
    """**Arguments:**

    - `diffusion`: ε, a positive number; halving it about doubles the difficulty.
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a tanh network; sobng chooses a field by default.
    """
    if not (isinstance(diffusion, int | float) and 0 < diffusion < math.inf):
        raise ValueError(f"`diffusion` is a positive number. Got {diffusion!r}.")

    # e^((x-1)/ε) rather than e^(x/ε) / e^(1/ε): below ε = 1e-3 the latter overflows.
    far = math.exp(-1.0 / diffusion)

    def exact(x):
        layer = jnp.exp((x[0] - 1.0) / diffusion) - far
        return x[0] - layer / (1.0 - far)

    def transport(u, x, args):
        return -diffusion * sn.partial(u, 0, 0)(x) + sn.partial(u, 0)(x) - 1.0

    problem = sn.Problem(
        sn.Condition(transport, interval.interior, name="transport"),
        sn.Dirichlet(interval.boundary, 0.0, name="ends"),
    )
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    field = (lambda key: sn.MLP(dim=1, key=key, **sizes)) if sizes else None
    return sn.Case(
        "advection_diffusion_1d",
        problem,
        field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-8,
        tags=("linear", "boundary_layer"),
    )
