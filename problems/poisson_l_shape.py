"""Poisson's equation on the L-shape (-1, 1)² without [0, 1] x [-1, 0].

    data="corner":    Δu = 2,  u = g from the exact solution r^(2/3) sin(2θ/3) + x²;
    data="unit":     -Δu = 1,  u = 0 on the boundary.

The polar coordinates (r, θ) are those of the re-entrant corner, with θ = 0 and
θ = 3π/2 on its edges; both solutions have unbounded slopes there. The reference for the
second is made by finite elements, see `references/poisson_l_shape.py`: two resolutions
agree to 1.9e-9 in L2, relatively.

A smooth network cannot follow r^(2/3). The field is therefore a network plus a sum of
r^(2k/3) sin(2kθ/3) with coefficients to be found: functions that the corner's angle
alone dictates, whatever the data (those with k = 3 and 6 are polynomials and left out).
They have values of their own on the outer edges, so the boundary becomes a penalty.
`enriched=False` leaves them out and lets sobng do its best.
"""

import functools
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "poisson_l_shape.npz"

l_shape = sn.Polygon(
    ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (0.0, -1.0))
)


def singular(x, k):
    """r^(2k/3) sin(2kθ/3): harmonic, and zero on both edges of the corner."""
    # The cut of the angle lies in the middle of the missing quadrant.
    angle = jnp.arctan2(-x[0] - x[1], x[1] - x[0]) + 3 * jnp.pi / 4
    return jnp.sum(x**2) ** (k / 3) * jnp.sin(2 * k / 3 * angle)


class Corner(sn.AbstractField):
    """The sum of the singular functions of some orders."""

    coefficients: Float[Array, " orders"]
    orders: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True, default=2)
    out: int | None = eqx.field(static=True, default=None)

    def __call__(self, x):
        return self.coefficients @ jnp.stack([singular(x, k) for k in self.orders])

    def linear_leaves(self):
        return jax.tree.map(lambda _: True, self)


def corner(x):
    return singular(x, 1) + x[0] ** 2


@functools.cache
def elements():
    with np.load(REFERENCE) as data:
        return tuple(data[name] for name in ("radial", "angular", "basis", "values"))


def locate(edges, basis, position):
    """The first node of the element at a position, and its basis functions there."""
    edges, basis = (jnp.asarray(a, position.dtype) for a in (edges, basis))
    cell = jnp.clip(
        jnp.searchsorted(edges, position, side="right") - 1, 0, len(edges) - 2
    )
    local = 2 * (position - edges[cell]) / (edges[cell + 1] - edges[cell]) - 1
    values = jnp.zeros_like(basis[0])
    for row in basis:
        values = values * local + row
    return cell * (len(basis) - 1), values


def unit(x):
    radial, angular, basis, values = elements()
    # It is symmetric about y = -x: (τ, s) of the reference, in its upper half.
    a, b = jnp.maximum(x[0], -x[1]), jnp.maximum(x[1], -x[0])
    greatest = jnp.maximum(a, b)
    turn = jnp.where(a >= b, b, 2 * greatest - a) / greatest
    row, first = locate(radial, basis, jnp.cbrt(greatest))
    column, second = locate(angular, basis, turn)
    patch = jax.lax.dynamic_slice(
        jnp.asarray(values, x.dtype), (row, column), (len(first), len(second))
    )
    return first @ patch @ second


def case(*, data="corner", enriched=True, stages="default", width=None, depth=None):
    """**Arguments:**

    - `data`: "corner" or "unit".
    - `enriched`: whether the field has singular terms.
    - `stages`: the strategy, "default" or "all-parameters".
    - `width`, `depth`: the size of the tanh network.
    """
    if data not in ("corner", "unit"):
        raise ValueError(f"`data` is 'corner' or 'unit'. Got {data!r}.")
    if not isinstance(enriched, bool):
        raise ValueError(f"`enriched` is True or False. Got {enriched!r}.")
    load, value = (2.0, corner) if data == "corner" else (-1.0, 0.0)

    def poisson(u, x, args):
        return sn.laplacian(u)(x) - load

    problem = sn.Problem(
        sn.Condition(poisson, l_shape.interior, name="poisson"),
        sn.Dirichlet(
            l_shape.boundary, value, exact=False if enriched else None, name="wall"
        ),
    )

    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}

    def network(key):
        return sn.MLP(dim=2, key=key, **({"width": 128} | sizes))

    def enriched_network(key):
        orders = (1, 2, 4, 5, 7, 8)
        start = jr.normal(jr.fold_in(key, 1), (len(orders),))
        return sn.Sum([network(key), Corner(start, orders)])

    return sn.Case(
        "poisson_l_shape",
        problem,
        enriched_network if enriched else (network if sizes else None),
        reference=corner if data == "corner" else unit,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-8 if data == "corner" else 1e-4,
        tags=("linear", "corner"),
    )
