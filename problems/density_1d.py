"""A density on an interval fitted to a mixture of two Gaussians, in several metrics.

    minimise  ∫ p log(p / u) - p + u  over (-6, 6),      loss="kl", or
              ∫ (u - p)² / 2,                            loss="l2",

for p = 0.4 N(-2, 0.7²) + 0.6 N(1.5, 0.5²), by quadrature. The first is the
Kullback-Leibler divergence of densities of any mass; both are least, and zero, at u = p.
The density is a mixture of two Gaussians with five free parameters, from two starts.

Which metric wins depends on the loss, and from far starts none is safe: one Gaussian may
cover both bumps, and the other is lost. docs/geometry.md counts the steps: for "kl" the
Fisher-Rao metric is the fastest (11 to 15 steps, with L2 59 to 110), for "l2" the L2 metric,
which is Gauss-Newton there. The Wasserstein metric does not arrive within 150.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

import sobng as sn


interval = sn.Interval(-6.0, 6.0)

METRICS = {
    "energy": sn.EnergyMetric(),
    "l2": sn.SobolevMetric(order=0),
    "fisher-rao": sn.FisherRaoMetric(),
    "wasserstein": sn.WassersteinMetric(),
    "euclidean": sn.EuclideanMetric(),
}


def bumps(x, masses, means, widths):
    """The sum of Gaussians of the given masses."""
    away = (x[0] - means) / widths
    return jnp.sum(masses / (widths * jnp.sqrt(2 * jnp.pi)) * jnp.exp(-(away**2) / 2))


def exact(x):
    masses, means, widths = jnp.array([[0.4, 0.6], [-2.0, 1.5], [0.7, 0.5]], x.dtype)
    return bumps(x, masses, means, widths)


class Mixture(eqx.Module):
    """Gaussians whose masses sum to one; logarithms of masses and widths."""

    masses: Float[Array, " num"]
    means: Float[Array, " num"]
    widths: Float[Array, " num"]

    def __init__(self, means, widths):
        self.means = jnp.asarray(means)
        self.widths = jnp.log(jnp.asarray(widths))
        self.masses = jnp.zeros_like(self.means)

    def __call__(self, x):
        return bumps(x, jax.nn.softmax(self.masses), self.means, jnp.exp(self.widths))


class Exponential(eqx.Module):
    """The exponential of a network."""

    network: sn.MLP

    def __call__(self, x):
        return jnp.exp(self.network(x))


def divergence(u, x, args):
    value, wanted = u(x), exact(x)
    return wanted * jnp.log(wanted / value) - wanted + value


def misfit(u, x, args):
    return (u(x) - exact(x)) ** 2 / 2


# Between what the means are drawn, and the widths.
STARTS = {"near": (-1.0, 1.0, 1.0), "far": (-5.0, -4.0, 0.5)}
LOSSES = {"kl": divergence, "l2": misfit}


def case(
    *,
    loss="kl",
    metric="fisher-rao",
    start="near",
    stages="default",
    width=None,
    depth=None,
):
    """**Arguments:**

    - `loss`: "kl" or "l2".
    - `metric`: "energy", "l2", "fisher-rao", "wasserstein" or "euclidean".
    - `start`: "near", two wide bumps in the middle, or "far", two narrow ones aside.
    - `stages`: the strategy; all parameters in the metric for "default".
    - `width`, `depth`: the size of a tanh network whose exponential is the density,
        instead of two Gaussians.
    """
    given = (
        ("loss", loss, LOSSES),
        ("metric", metric, METRICS),
        ("start", start, STARTS),
    )
    for name, value, table in given:
        if value not in table:
            raise ValueError(f"`{name}` is one of {list(table)}. Got {value!r}.")
    sizes = {"width": width, "depth": depth}
    sizes = {name: size for name, size in sizes.items() if size is not None}

    def field(key):
        if sizes:
            return Exponential(sn.MLP(1, domain=interval, key=key, **sizes))
        low, high, width = STARTS[start]
        means = jr.uniform(key, (2,), minval=low, maxval=high)
        return Mixture(means, jnp.full((2,), width))

    alone = (sn.AllParameters(sn.NaturalGradient(METRICS[metric])),)
    return sn.Case(
        "density_1d",
        sn.Energy(LOSSES[loss], interval),
        field,
        reference=exact,
        options={"stages": alone if stages == "default" else sn.strategy(stages)},
        accuracy=1e-8,
        tags=("energy", "density", "nonlinear", "smooth"),
    )
