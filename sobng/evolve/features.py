"""The fields that sobng chooses for an evolution, and the points that they need."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sobng.evolve.walls import walled
from sobng.fields.features import sine_features
from sobng.fields.partition import with_bandwidth
from sobng.fields.periodic import PeriodicEmbedding
from sobng.geometry.box import AbstractBox
from sobng.geometry.quadrature import gauss, tensor
from sobng.problem import Evolution, Periodic
from sobng.typing import HostPoints, HostWeights, Key


BANDWIDTHS = {1: 24.0, 2: 7.0, 3: 3.0}
"""Where the climb of the bandwidth begins, by dimension."""

RATIOS = {1: 1.5, 2: 1.3, 3: 1.25}
"""Between two rungs of it."""

MOST = 2600
"""Features at most."""

MARGIN = {1: 10.0, 2: 5.0, 3: 3.0}
"""How far beyond its bandwidth a random basis has functions that are not noise."""

SURPLUS = 1.3
"""Features for each independent function: random ones are not all of use."""


def periods(evolution: Evolution) -> dict[int, float]:
    """The period of each periodic axis."""
    conditions = evolution.boundary
    return {c.axis: c.length for c in conditions if isinstance(c, Periodic)}


def count(evolution: Evolution, bandwidth: float) -> int:
    """How many features a bandwidth needs: its volume in phase space, with a margin."""
    dim = evolution.dim
    walls = dim - len(periods(evolution))
    ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    radius = bandwidth + MARGIN[dim] * (2.0 if walls else 1.0)
    functions = ball * radius**dim / math.pi**walls
    return round(SURPLUS * functions / (evolution.out or 1) ** 0) + 8


def feature_field(evolution: Evolution, bandwidth: float, num: int, key: Key) -> Any:
    """Random sine features that repeat where the evolution says so."""
    repeated = periods(evolution)
    dim = evolution.dim + len(repeated)
    field = with_bandwidth(_sines(dim, evolution.out, num, key), bandwidth)
    if not repeated:
        return field
    lower, upper = evolution.domain.bounds
    rest = [axis for axis in range(evolution.dim) if axis not in repeated]
    bounds = {axis: (float(lower[axis]), float(upper[axis])) for axis in rest}
    return PeriodicEmbedding(field, repeated, bounds=bounds)


@eqx.filter_jit  # one compilation instead of a dozen
def _sines(dim: int, out: int | None, num: int, key: Key) -> Any:
    return sine_features(dim, out=out, num=num, key=key)


def feature_unknown(
    evolution: Evolution, bandwidth: float, num: int, t0: Any, args: Any, key: Key
) -> Any:
    """The same with all conditions imposed that can be."""
    field = feature_field(evolution, bandwidth, num, key)
    return walled(evolution, field, jnp.asarray(t0), args)


def rule(evolution: Evolution, num: int) -> tuple[HostPoints, HostWeights]:
    """About `num` points with weights: equidistant along periodic axes, Gauss along the
    others of a box, the domain's own rule elsewhere."""
    domain, repeated = evolution.domain, periods(evolution)
    if not isinstance(domain, AbstractBox) or domain.dim > 3:
        return domain.interior.quadrature(num)
    lower, upper = domain.bounds
    each = max(4, math.ceil(num ** (1 / domain.dim)))
    factors = []
    for axis in range(domain.dim):
        low, high = float(lower[axis]), float(upper[axis])
        if axis in repeated:
            step = (high - low) / each
            nodes = low + step * (np.arange(each) + 0.5)
            factors.append((nodes, np.full(each, step)))
        else:
            factors.append(gauss(low, high, each))
    return tensor(factors)


def points_for(evolution: Evolution, bandwidth: float, features: int) -> int:
    """How many points tell the products of a few features apart."""
    dim, repeated = evolution.dim, len(periods(evolution))
    if dim > 3:
        return 4 * features
    # Products of three features against a fourth; Gauss points lie thinner inside.
    axes = [4 * bandwidth + 40] * repeated + [2.5 * bandwidth + 60] * (dim - repeated)
    return max(math.prod(round(a) for a in axes) if dim == 1 else 0, 2 * features)
