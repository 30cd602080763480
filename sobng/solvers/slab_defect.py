"""The defect equation of a field in slabs of time, solved one slab after the other."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.collocation import Collocation
from sobng.exact import homogeneous
from sobng.fields.algebra import add
from sobng.fields.features import sine_features
from sobng.fields.partition import linear_leaves
from sobng.fields.stretched import Stretched, stretching_of
from sobng.fields.time_slabs import piece_of, slabs_of, TimeSlabs, with_piece
from sobng.once import lean
from sobng.problem import Problem
from sobng.solvers.marching import (
    lay,
    linear_solution,
    ROWS,
    slab_system,
    TIMES,
)
from sobng.typing import Key


MORE, WIDER, LATER = 1.25, 1.2, 3
"""Times the features of a slab and their bandwidth, and points in time beside those that
the field was solved on: what the field left of the residual is rougher than it is."""


def slab_defect(
    problem: Problem, unknown: PyTree, args: Any, key: Key
) -> tuple[PyTree, float]:
    """The error of a field in slabs, in features of their own and on other points, and
    the part of the residual that these leave."""
    slabs: Any = slabs_of(unknown)
    stretching: Any = stretching_of(unknown)
    own = slabs.features.value.weights[0]
    num = round(MORE * own.shape[0])
    waves: Any = sine_features(2, out=slabs.out, num=num, key=key)
    scale = WIDER * jnp.max(jnp.abs(own), axis=0)
    waves = eqx.tree_at(lambda w: w.weights[0], waves, waves.weights[0] * scale[None])
    field: Any = Stretched(TimeSlabs(waves, slabs.num), stretching)
    fields: dict[str | None, Any] = {None: field}
    error = homogeneous(problem, unknown, fields)[None]
    pieces = lay(problem, error, ROWS * num, TIMES + LATER).astype(own.dtype)
    squares = []
    for index in range(slabs.num):
        error, found = _solve(problem, unknown, error, pieces, args, jnp.asarray(index))
        squares.append(found)
    before, left = jnp.sum(jnp.asarray(squares), axis=0)
    return error, float(jnp.sqrt(left / before))


@lean
def _solve(
    problem: Problem,
    unknown: PyTree,
    error: PyTree,
    pieces: Collocation,
    args: Any,
    index: Any,
):
    """The error with that in one slab, and the squared residual there, then and now."""
    here = piece_of(error, index)
    now = add(unknown, here, 1.0)
    before = add(unknown, piece_of(error, jnp.maximum(index - 1, 0)), 1.0)
    blank = jax.tree.map(lambda _: False, now)
    moves = eqx.tree_at(lambda p: p.v, blank, linear_leaves(here))
    system = slab_system(problem, now, moves, pieces, index)
    flat, unravel = jfu.ravel_pytree(system.params)
    model = linear_solution(system, (args, before))
    new: Any = system.unknown(unravel(flat + model.change))
    squares = jnp.stack([jnp.sum(r**2) for r in (model.residual, model.left)])
    return with_piece(error, index, new.v), squares
