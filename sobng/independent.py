"""Random features beside an unknown, of which it knows nothing: where errors are sought."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import PyTree

from sobng.collocation import Collocation
from sobng.exact import homogeneous
from sobng.fields.algebra import add, entries, rebuild
from sobng.fields.features import sine_features
from sobng.fields.field import sizes_of
from sobng.fields.partition import linear_leaves
from sobng.problem import Energy, Problem
from sobng.system import System


FEATURES = {1: 128, 2: 500, 3: 1000, 4: 800, 5: 800}
"""By dimension how many sine features, all components together (measured)."""

BANDWIDTHS = {1: 48.0, 2: 9.0, 3: 3.0, 4: 2.0, 5: 2.0}
"""The first bandwidth that is tried; others follow in these ratios."""

RATIOS = (1.0, 1.5, 2.25, 1 / 1.5)


def independent_features(
    problem: Problem | Energy, unknown: PyTree, key: jax.Array
) -> PyTree:
    """For every field of the unknown, features that vanish where it is exact.

    **Raises:** `ValueError` beyond five dimensions, or if the exact conditions of the
    unknown are not sobng's.
    """
    if problem.dim not in FEATURES:
        raise ValueError(
            f"In {problem.dim} dimensions no feature space follows the error."
        )
    fields = {}
    for i, (name, u) in enumerate(entries(unknown).items()):
        if not callable(u):
            continue
        dim, out = sizes_of("independent_features", u, problem.dim)
        share = (1 if out is None else out) ** 0.5
        num = round(FEATURES[problem.dim] / share)
        fields[name] = sine_features(dim, out=out, num=num, key=jr.fold_in(key, i))
    return rebuild(unknown, homogeneous(problem, unknown, fields))


def num_coefficients(features: PyTree) -> int:
    """How many numbers the features are linear in."""
    moving, _ = eqx.partition(features, linear_leaves(features))
    return sum(leaf.size for leaf in jax.tree.leaves(moving))


def widened(features: PyTree, scale: float) -> PyTree:
    """The features with another bandwidth."""

    def one(field):
        return field.rescaled(scale) if hasattr(field, "rescaled") else field

    parts = {name: one(field) for name, field in entries(features).items()}
    return rebuild(features, parts)


def extended_system(
    problem: Problem | Energy,
    unknown: PyTree,
    features: PyTree,
    points: Collocation,
    *,
    own: bool = False,
) -> System:
    """The problem for `unknown + features`, the features with zero coefficients.

    **Arguments:**

    - `own`: whether the parameters of the unknown move too, beside the coefficients.
    """
    linear = linear_leaves(features)
    zero = jax.tree.map(lambda a, b: jnp.zeros_like(a) if b else a, features, linear)
    together = add(unknown, zero, 1.0)
    marks = entries(linear)

    def chosen(name, entry):
        if name not in marks:
            return own
        blank = jax.tree.map(lambda _: False, entry)
        return eqx.tree_at(lambda p: (p.u, p.v), blank, (own, marks[name]))

    moves = {name: chosen(name, entry) for name, entry in entries(together).items()}
    return System(problem, together, points, moves=rebuild(unknown, moves))
