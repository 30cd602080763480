"""Poisson's equation on the five-dimensional unit cube.

    -Δu = f   in (0, 1)⁵,
      u = g   on the boundary,

where f and g come from the exact solution, which the option `data` chooses:

    data="cosines":    u = Σ cos(πxᵢ), which a sine network represents exactly;
    data="gaussian":   u = exp(-2 |x - 1/2|²) (1 + x₁ x₂), which no small network does.

The second is the honest test in five dimensions, where grids fail. By default its field is
left to sobng, which takes thousands of random waves; trained, a network of two layers.
"""

import jax.numpy as jnp

import sobng as sn


cube = sn.Box((0.0,) * 5, (1.0,) * 5)


def cosines(x):
    return jnp.sum(jnp.cos(jnp.pi * x))


def gaussian(x):
    return jnp.exp(-2.0 * jnp.sum((x - 0.5) ** 2)) * (1.0 + x[0] * x[1])


EXACT = {"cosines": cosines, "gaussian": gaussian}
SHAPES = {"cosines": (64, 1, jnp.sin), "gaussian": (36, 2, jnp.tanh)}


def case(*, data="cosines", stages="default", width=None, depth=None):
    """**Arguments:**

    - `data`: "cosines" or "gaussian".
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of a network; by default 64 sines for the cosines and, where
        all parameters are to move, two layers of 36 tanh neurons for the Gaussian.
    """
    if data not in EXACT:
        raise ValueError(f"`data` is 'cosines' or 'gaussian'. Got {data!r}.")
    exact = EXACT[data]

    def poisson(u, x, args):
        return sn.laplacian(u)(x) - sn.laplacian(exact)(x)

    problem = sn.Problem(
        sn.Condition(poisson, cube.interior, name="poisson"),
        sn.Dirichlet(cube.boundary, exact, name="wall"),
    )
    ours = data == "gaussian" and stages == "default" and width is depth is None
    wide, deep, activation = SHAPES[data]
    wide = wide if width is None else width
    deep = deep if depth is None else depth

    def field(key):
        return sn.MLP(dim=5, width=wide, depth=deep, activation=activation, key=key)

    return sn.Case(
        "poisson_5d",
        problem,
        None if ours else field,
        reference=exact,
        options={"stages": sn.strategy(stages)},
        accuracy=5e-6 if data == "cosines" else 1e-4,
        tags=("linear", "smooth", "high_dim"),
    )
