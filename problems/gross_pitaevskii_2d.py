"""The ground state of a Bose-Einstein condensate in a harmonic trap.

    minimise  ∫ |∇u|² / 2 + |x|² u² / 2 + (g/2) u⁴  over [-8, 8]²  with  ∫ u² = 1,

for g = 100. The repulsion makes the state flat and wide (without kinetic energy it would
be a paraboloid's root of radius 3.4, with it the tails are Gaussian), and at the box it
is below 1e-9, so that its natural ends stand for the plane. The reference is a Fourier
series, see `references/gross_pitaevskii_2d.py`: the energies of two resolutions agree to
1e-15.

The field is a Gaussian, wider than any such state in the trap, times a network of random
sine features: the trap is smooth and the field wide, and its last layer alone is solved
for, by some ten Newton steps. They start at the Gaussian itself. The sign of a ground
state is free: sobng returns the one with a positive integral.
"""

import functools
import pathlib

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import sobng as sn


REFERENCE = pathlib.Path(__file__).parent / "references" / "gross_pitaevskii_2d.npz"
HALF = 8.0
G = 100.0

box = sn.Box((-HALF, -HALF), (HALF, HALF))
inner = sn.Box((-4.5, -4.5), (4.5, 4.5))


def density(u, x, args):
    slope, square = sn.gradient(u)(x), u(x) ** 2
    return slope @ slope / 2 + x @ x * square / 2 + G / 2 * square**2


PROBLEM = sn.Energy(density, box, normalise="l2")


def envelope(x):
    return jnp.exp(-(x @ x) / 8)


@functools.cache
def stored():
    with np.load(REFERENCE) as data:
        return data["coefficients"], float(data["energy"])


def reference(x):
    table = jnp.asarray(stored()[0], x.dtype)
    waves = jnp.cos(
        jnp.pi / HALF * x[:, None] * jnp.arange(len(table), dtype=x.dtype)[None]
    )
    return waves[0] @ table @ waves[1]


def energy(solution):
    """The energy, by other and more points than it was trained on."""
    points = sn.discretise(PROBLEM, 8100, key=jr.key(0))
    return sn.System(PROBLEM, solution.field, points).energy_of(solution.field)


def case(*, stages="default", width=800, depth=1, bandwidth=14.0):
    """**Arguments:**

    - `stages`: the strategy; the last layer alone for "default".
    - `width`, `depth`: the size of the sine network.
    - `bandwidth`: its frequencies, per half the width of the Gaussian.
    """
    if not bandwidth > 0:
        raise ValueError(f"`bandwidth` is a positive number. Got {bandwidth!r}.")

    def field(key):
        network = sn.MLP(
            dim=2,
            width=width,
            depth=depth,
            activation=jnp.sin,
            domain=inner,
            bandwidth=bandwidth,
            key=key,
        )
        last = (0.1 * network.weights[-1], network.biases[-1] + 1)
        network = eqx.tree_at(lambda n: (n.weights[-1], n.biases[-1]), network, last)
        return sn.Constrained(network, None, envelope)

    chosen = (sn.LastLayer(),) if stages == "default" else sn.strategy(stages)
    return sn.Case(
        "gross_pitaevskii_2d",
        PROBLEM,
        field,
        reference=reference,
        options={"stages": chosen, "collocation": 4900},
        accuracy=1e-4,
        quantities={"energy": (energy, stored()[1])},
        tags=("energy", "nonlinear", "smooth"),
    )
