"""The fields that sobng chooses for an evolution, and the points that they need."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from sobng.evolve.walls import walled
from sobng.fields.mlp import MLP
from sobng.fields.periodic import PeriodicEmbedding
from sobng.geometry.box import AbstractBox
from sobng.geometry.polygon import Polygon
from sobng.geometry.quadrature import gauss, tensor
from sobng.once import once
from sobng.problem import Evolution, Periodic
from sobng.typing import HostPoints, HostWeights, Key


RATIOS = {1: 2.0, 2: 1.4, 3: 1.25}
"""Between two rungs of the climb of the bandwidth, by dimension."""

LEAST = {1: 20.0, 2: 6.0, 3: 2.5}
"""No lower rung begins below this bandwidth."""

MOST = 2600
"""Features at most, those of each component counted."""

MARGIN = {1: 20.0, 2: 10.0, 3: 6.0}
"""How far beyond its bandwidth a random basis has functions that are not noise."""

RIM = 0.1
"""How much longer than the bandwidth, relatively, waves of the random rim may be."""

SURPLUS = 1.3
"""Features for each independent function: random ones are not all of use."""


def periods(evolution: Evolution) -> dict[int, float]:
    """The period of each periodic axis."""
    conditions = evolution.boundary
    return {c.axis: c.length for c in conditions if isinstance(c, Periodic)}


def _volume(evolution: Evolution) -> tuple[float, float]:
    """Features for each unit of the radius to the power of the dimension, and how far
    the radius is beyond the bandwidth."""
    dim = evolution.dim
    walls = dim - len(periods(evolution))
    ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    if walls == 0:
        return ball, 0.0
    return SURPLUS * ball / math.pi**walls, MARGIN[dim]


def count(evolution: Evolution, bandwidth: float) -> int:
    """How many features a bandwidth needs: its volume in phase space, with a margin."""
    unit, margin = _volume(evolution)
    return 2 * round(unit * (bandwidth + margin) ** evolution.dim / 2) + 8


def bandwidths(evolution: Evolution) -> tuple[float, ...]:
    """The bandwidths of all rungs; the last one takes the most features."""
    unit, margin = _volume(evolution)
    dim = evolution.dim
    most = MOST / (evolution.out or 1)
    found = [((most - 8) / unit) ** (1 / dim) - margin]
    while found[-1] / RATIOS[dim] > LEAST[dim]:
        found.append(found[-1] / RATIOS[dim])
    return tuple(reversed(found))


def feature_field(evolution: Evolution, bandwidth: float, num: int, key: Key) -> Any:
    """Random sine features that repeat where the evolution says so.

    Along periodic axes a period holds a whole number of waves. Where all axes are, these
    are the longest waves there are, but for a random rim: they are orthogonal, and no
    digit is lost to near dependence.
    """
    repeated = sorted(periods(evolution))
    dim = evolution.dim
    random = np.random.default_rng(np.asarray(jr.key_data(key)).tolist())
    if len(repeated) == dim:
        waves, phases = _longest(dim, bandwidth, num, random)
    else:
        waves = random.normal(size=(num, dim))
        radius = bandwidth * random.uniform(size=(num, 1)) ** (1 / dim)
        waves *= radius / np.linalg.norm(waves, axis=1, keepdims=True)
        waves[:, repeated] = np.round(waves[:, repeated])
        phases = random.uniform(-np.pi, np.pi, size=num)
    # The domain is mapped to the unit cell, of length two.
    waves[:, repeated] *= np.pi
    field = _blank(dim, evolution.out, len(waves), evolution.domain, key)
    kind = field.weights[0].dtype
    first = (jnp.asarray(waves, kind), jnp.asarray(phases, kind))
    return eqx.tree_at(lambda f: (f.weights[0], f.biases[0]), field, first)


def _longest(dim, bandwidth, num, random):
    """Sines and cosines of `num // 2` whole wave vectors."""
    most = math.ceil((1 + RIM) * bandwidth) + 2
    axes = [np.arange(-most, most + 1)] * dim
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    half = lattice[len(lattice) // 2 + 1 :]  # the others are these, backwards
    size = np.linalg.norm(half, axis=1) * (1 + RIM * random.uniform(-1, 1, len(half)))
    waves = half[np.argsort(size)[: num // 2]].astype(float)
    phases = np.repeat([0.0, np.pi / 2], len(waves))
    return np.concatenate([waves, waves]), phases


@once
def _blank(dim: int, out: int | None, num: int, domain: Any, key: Key) -> Any:
    found = MLP(dim, out=out, width=num, activation=jnp.sin, domain=domain, key=key)
    return eqx.tree_at(lambda f: f.weights[1], found, jnp.zeros_like(found.weights[1]))


def feature_unknown(
    evolution: Evolution, bandwidth: float, num: int, t0: Any, args: Any, key: Key
) -> Any:
    """The same with all conditions imposed that can be."""
    field = feature_field(evolution, bandwidth, num, key)
    # A factor with a corner would have to be divided out of smooth functions.
    corners = isinstance(evolution.domain, Polygon)
    return walled(evolution, field, jnp.asarray(t0), args, built_in=not corners)


def network(evolution: Evolution, key: Key, wider: float = 1.0) -> Any:
    """The network that moves where frozen features cannot follow, or one that many times
    as wide."""
    repeated = periods(evolution)
    dim = evolution.dim + len(repeated)
    inner = MLP(dim, out=evolution.out, width=round(24 * wider), depth=2, key=key)
    if not repeated:
        return inner
    lower, upper = evolution.domain.bounds
    rest = [axis for axis in range(evolution.dim) if axis not in repeated]
    bounds = {axis: (float(lower[axis]), float(upper[axis])) for axis in rest}
    return PeriodicEmbedding(inner, repeated, bounds=bounds)


def rule(
    evolution: Evolution, num: int, shift: float = 0.5
) -> tuple[HostPoints, HostWeights]:
    """About `num` points with weights: equidistant along periodic axes, Gauss along the
    others of a box, the domain's own rule elsewhere.

    **Arguments:**

    - `shift`: of equidistant points, in units of their distance.
    """
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
            nodes = low + step * (np.arange(each) + shift)
            factors.append((nodes, np.full(each, step)))
        else:
            factors.append(gauss(low, high, each))
    return tensor(factors)


def points_for(evolution: Evolution, bandwidth: float, features: int) -> int:
    """How many points tell the products of a few features apart."""
    dim, repeated = evolution.dim, len(periods(evolution))
    if dim > 3 or not isinstance(evolution.domain, AbstractBox):
        return 4 * features  # of a rule that suits no product of waves
    # Products of three features against a fourth; Gauss points lie thinner inside.
    axes = [4 * bandwidth + 40] * repeated + [2.5 * bandwidth + 60] * (dim - repeated)
    return max(math.prod(round(a) for a in axes) if dim == 1 else 0, 2 * features)
