"""Poisson's equation on the unit cube of a hundred dimensions.

    -Δu = -200 / 33.47   in (0, 1)¹⁰⁰,
      u = |x|² / 33.47   on the boundary,

whose solution is |x|² / 33.47, of mean one. The network is an ordinary one with 1.3
million parameters, of which no Jacobian fits in memory.

A constant leaves an error of 9e-2 and a linear function one of 2.2e-2; the rest is one
direction in the 5,050 quadratic forms, which only values at that many points tell apart.
So points are drawn anew for every step, most of them on the boundary, and a step is solved
for in the space of the residuals.
"""

import jax
import jax.numpy as jnp

import sobng as sn


DIM = 100
SCALE = 33.47
WIDTHS = (768, 768, 512, 512)

cube = sn.Box((0.0,) * DIM, (1.0,) * DIM)


def exact(x):
    return jnp.sum(x**2) / SCALE


def poisson(u, x, args):
    return sn.laplacian(u)(x) - 2 * DIM / SCALE


def case(*, stages="all-parameters", width=None, depth=None, inside=16, around=3000):
    """**Arguments:**

    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of the network; by default hidden layers of 768, 768, 512
      and 512 neurons.
    - `inside`, `around`: points of a step in the interior and on the boundary.
    """
    sn.strategy(stages)  # refuses unknown names
    problem = sn.Problem(
        sn.Condition(poisson, cube.interior, name="poisson"),
        sn.Dirichlet(cube.boundary, exact, exact=False, name="wall"),
    )
    if width is None and depth is None:
        sizes = {"width": WIDTHS}
    else:
        sizes = {"width": 768 if width is None else width}
        sizes["depth"] = 4 if depth is None else depth

    def field(key):
        # Arguments of the first layer have size one, whatever the dimension.
        return sn.MLP(
            dim=DIM,
            **sizes,
            activation=jax.nn.gelu,
            domain=cube,
            bandwidth=DIM**-0.5,
            key=key,
        )

    return sn.Case(
        "poisson_100d",
        problem,
        field,
        reference=exact,
        options={
            "stages": (sn.AllParameters(fresh=1),),
            "collocation": {"poisson": sn.Uniform(inside), "wall": sn.Uniform(around)},
        },
        accuracy=3e-3,  # in 2,500 seconds; see docs/benchmarks.md
        tags=("linear", "smooth", "high_dim"),
    )
