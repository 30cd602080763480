"""A field whose parameters all move, begun anew where it follows no longer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, PyTree

from sobng.collocation import Collocation
from sobng.evolve.blow_up import GROWN
from sobng.evolve.features import network
from sobng.evolve.growth import IMPROVES, look_at, Watch
from sobng.evolve.integrate import Trip
from sobng.evolve.moving import followed, Moving, moving
from sobng.evolve.walls import at_time, walled
from sobng.fields.partition import combine, partition
from sobng.problem import Condition, Problem
from sobng.results import RESULTS
from sobng.solvers.gauss_newton import GaussNewton
from sobng.system import System
from sobng.typing import Key


TRIES = 3
"""How often a run looks for another field."""

FIT_STEPS = 200
"""Gauss-Newton steps of a fit to the function that a field has become."""

WIDER = 1.5
"""By how much a network of sobng's own is wider each time."""


@dataclasses.dataclass
class Refitted:
    """The legs of a run, on one field after another."""

    motions: list[Moving]
    trips: list[Trip]
    tried: int = 0


def refitting(
    motion: Moving,
    y: Array,
    watch: Watch,
    go: Callable[..., Trip],
    anew: Callable[[int, float, PyTree], tuple[Moving, float]],
    t0: float,
    args: Any,
) -> Refitted:
    """Moves a field, and takes another one where its motion misses too much of the
    right-hand side, or where no step is small enough for its parameters.

    Another field is taken if it holds the function and misses less than half of what the
    old one did; else more is allowed, as for frozen features.

    **Arguments:**

    - `go`: `go(motion, t, y, dt0, allowed, done)` integrates.
    - `anew`: `anew(number, t, u)` gives a motion of another field that is fitted to `u` and
        by how much this is missed, relatively.
    """
    found = Refitted([], [])
    time, step = t0, None
    watch.allow(look_at(motion, t0, y, args))
    while True:
        last = found.tried == TRIES
        done = sum(trip.steps for trip in found.trips)
        trip = go(motion, time, y, step, None if last else watch, done)
        found.motions.append(motion)
        found.trips.append(trip)
        stuck = bool(trip.result == RESULTS.blew_up) and not _grew(found.trips)
        if last or not (stuck or bool(trip.result == RESULTS.unresolved)):
            return found
        found.tried += 1
        time, step, y = trip.reached, trip.step, trip.path.end
        look = trip.looks[-1] if stuck else np.asarray(trip.beyond[2])
        other, miss = anew(found.tried, time, motion.field(jnp.asarray(time), y, args))
        state = jfu.ravel_pytree(other.params)[0]
        left = watch.missed(look_at(other, time, state, args)) + miss
        enough = watch.level if stuck else IMPROVES * watch.missed(look)
        if np.isfinite(left) and left < enough:
            motion, y, step = other, state, None
            watch.allow(look_at(motion, time, y, args))
        elif stuck:
            return found
        else:
            watch.allow(look)


def _grew(trips: list[Trip]) -> bool:
    return bool(trips[-1].looks[-1, 2] > GROWN * trips[0].looks[0, 2] > 0)


class Another:
    """Makes other fields of the kind of one."""

    def __init__(
        self, motion: Moving, unknown: PyTree, t1: float, args: Any, key: Key, own: bool
    ):
        """**Arguments:**

        - `unknown`: the field as it was before it was fitted.
        - `own`: whether it is sobng's, and may be wider next time.
        """
        self.evolution, self.jet = motion.evolution, motion.jet
        self.unknown, self.t1, self.args, self.key = unknown, t1, args, key
        self.own, self.damping = own, float(motion.damping)

    def __call__(self, number: int, t: float, u: PyTree) -> tuple[Moving, float]:
        """The motion of another field that is fitted to a function, and the misfit."""
        key = jax.random.fold_in(self.key, number)
        if self.own:
            field = network(self.evolution, key, WIDER**number)
            unknown = walled(self.evolution, field, jnp.asarray(t), self.args)
        else:
            unknown = shuffled(self.unknown, key)
        told = {"jet": self.jet, "damping": self.damping}
        made = moving(self.evolution, unknown, t, self.t1, self.args, key, **told)
        return fitted_to(made, u, jnp.asarray(t), self.args)


def shuffled(unknown: PyTree, key: Key) -> PyTree:
    """A field of the same size with other parameters, as far from one another."""
    params, rest = partition(unknown)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    mixed = [
        jax.random.permutation(k, leaf.ravel()).reshape(leaf.shape)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return combine(jax.tree.unflatten(structure, mixed), rest)


@eqx.filter_jit
def _fit(motion: Moving, u: PyTree, t: Any, args: Any) -> tuple[Moving, Array]:
    motion = followed(motion, u)

    def miss(v, x, both):
        now = at_time(v, *both) if motion.moving else v
        return now(x) - u(x)

    name = "function"
    problem = Problem(
        Condition(miss, motion.evolution.domain.interior, name=name),
        out=motion.evolution.out,
    )
    points = Collocation({name: motion.points}, {name: motion.weights})
    system = System(problem, combine(motion.params, motion.rest), points)
    found = optx.least_squares(
        system.residual,
        GaussNewton().on(system),
        system.params,
        (t, args),
        max_steps=FIT_STEPS,
        throw=False,
    )
    motion = eqx.tree_at(lambda m: m.params, motion, found.value)
    y = jfu.ravel_pytree(found.value)[0]
    wanted = jax.vmap(u)(motion.held_out)
    root = jnp.sqrt(motion.seen).reshape(-1, *[1] * (wanted.ndim - 1))
    apart = root * (jax.vmap(motion.field(t, y, args))(motion.held_out) - wanted)
    return motion, jnp.linalg.norm(apart) / jnp.linalg.norm(root * wanted)


def fitted_to(motion: Moving, u: PyTree, t: Any, args: Any) -> tuple[Moving, float]:
    """The motion on points that follow a function, its field fitted to that, and the
    misfit at held-out points, relatively."""
    motion, miss = _fit(motion, u, t, args)
    return motion, float(miss)
