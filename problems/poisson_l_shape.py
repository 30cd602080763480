"""Poisson's equation on the L-shape (-1, 1)² without [0, 1] x [-1, 0].

    data="corner":    Δu = 2,  u = g from the exact solution r^(2/3) sin(2θ/3) + x²;
    data="unit":     -Δu = 1,  u = 0 on the boundary.

The polar coordinates (r, θ) are those of the re-entrant corner, with θ = 0 and
θ = 3π/2 on its edges; both solutions have unbounded slopes there. The reference for the
second is made by finite elements, see `references/poisson_l_shape.py`: two resolutions
agree to 1.9e-9 in L2, relatively.

Smooth networks fail here. With the walls built in exactly they tend to a wrong
function: a limit of theirs with a finite residual has no part in r^(2/3). With the
walls as a penalty they tend to the right one, slowly: 300 random features stop at 1e-2.
The field is therefore a network plus singular terms with coefficients to be found. The
angles of the corners alone dictate these, whatever the data:

    r^(2k/3) sin(2kθ/3), k = 1, 2, 4, 5, 7, 8, 10, 11,   at the re-entrant corner,
    r² (log r sin 2θ + θ cos 2θ)                       at each of the six corners.

They have values of their own on the walls, hence a penalty. `enriched=False` leaves the
terms out.
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


# The re-entrant corner first: vertices, directions of the middle, half the angles.
VERTICES = ((0, 0), (1, 0), (1, 1), (-1, 1), (-1, -1), (0, -1))
MIDDLES = np.array([3, 3, 5, 7, 1, 3]) * np.pi / 4
HALVES = np.array([3, 1, 1, 1, 1, 1]) * np.pi / 4


def polar(x):
    """r² and θ about each corner; the cut lies outside, opposite the middle."""
    vertices = jnp.asarray(VERTICES, x.dtype)
    middles, halves = jnp.asarray(MIDDLES, x.dtype), jnp.asarray(HALVES, x.dtype)
    along, across = (x[None] - vertices).T
    cos, sin = jnp.cos(middles), jnp.sin(middles)
    turned = jnp.arctan2(cos * across - sin * along, cos * along + sin * across)
    return along**2 + across**2, turned + halves


def singular_terms(x, powers):
    """The values of all terms: those of the given `k`, then the logarithms."""
    square, angle = polar(x)
    k = jnp.asarray(powers, x.dtype)
    first = square[0] ** (k / 3) * jnp.sin(2 * k / 3 * angle[0])
    # r² log r, without the undefined 0 log 0 at the corner itself.
    radial = jax.scipy.special.xlogy(square, square) / 2
    second = radial * jnp.sin(2 * angle) + square * angle * jnp.cos(2 * angle)
    return jnp.concatenate([first, second])


class Singular(sn.AbstractField):
    """The sum of the singular terms with trainable coefficients."""

    coefficients: Float[Array, " terms"]
    powers: tuple[int, ...] = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)

    def __init__(self, powers, *, key):
        self.coefficients = jr.normal(key, (len(powers) + len(VERTICES),))
        self.powers = powers
        self.dim = 2
        self.out = None

    def __call__(self, x):
        return self.coefficients @ singular_terms(x, self.powers)

    def linear_leaves(self):
        return jax.tree.map(lambda _: True, self)


def corner(x):
    return singular_terms(x, (1,))[0] + x[0] ** 2


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
        sn.Dirichlet(l_shape.boundary, value, exact=False, name="wall"),
    )
    width = 200 if width is None else width
    depth = 1 if depth is None else depth

    def network(key):
        return sn.MLP(dim=2, width=width, depth=depth, key=key)

    def enriched_network(key):
        first, second = jr.split(key)
        terms = Singular((1, 2, 4, 5, 7, 8, 10, 11), key=second)
        return sn.Sum([network(first), terms])

    return sn.Case(
        "poisson_l_shape",
        problem,
        enriched_network if enriched else network,
        reference=corner if data == "corner" else unit,
        options={"stages": sn.strategy(stages)},
        accuracy=1e-8 if data == "corner" else 1e-5,
        tags=("linear", "corner"),
    )
