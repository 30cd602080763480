"""An evolution in which all parameters of a field move."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.chunks import chunked
from sobng.evolve.features import periods, rule
from sobng.evolve.following import densities, scattered, stretched
from sobng.evolve.galerkin import wall_rows
from sobng.evolve.projection import FIRM, RETURN
from sobng.evolve.walls import at_time, has_moments, left_over
from sobng.fields.partition import combine, partition
from sobng.geometry.box import AbstractBox
from sobng.linalg.damped import damped_solution
from sobng.metrics.sobolev import Jet, VALUES
from sobng.once import lean
from sobng.problem import Condition, Evolution, Problem
from sobng.settings import Settings
from sobng.solve import run_stages
from sobng.stages.all_parameters import AllParameters
from sobng.typing import Point, Value


DAMPING = 1e-6
"""Relative to the root mean square of the singular values of the Jacobian. Errors grew by a
hundredth of it where that was measured. With less, parameters that hardly change the field
run to and fro, and explicit steps must follow them."""


class Moving(eqx.Module):
    r"""$\theta' = \arg\min_v |J v - F(u_\theta)|^2 + \mu |v|^2$ on weighted points.

    The projection of the right-hand side on the tangent space of the field in a metric, by
    an orthogonal factorisation at every time: normal equations would lose half the digits.
    """

    evolution: Evolution
    rest: PyTree
    params: PyTree
    points: Float[Array, "n dim"]
    weights: Float[Array, " n"]
    held_out: Float[Array, "m dim"]
    seen: Float[Array, " m"]  # weights of these, of mean one
    levels: Float[
        Array, "m dim"
    ]  # where they lie in the unit box if they do not follow
    wall_points: tuple[Float[Array, "k dim"], ...]
    conditions: tuple[Any, ...]
    jet: Jet  # what the metric sees of a function
    speed: Any
    damping: Any
    moving: bool = eqx.field(static=True)

    def field(self, t: Any, y: Float[Array, " params"], args: Any) -> PyTree:
        """The field at one time."""
        _, unravel = jfu.ravel_pytree(self.params)
        u = combine(unravel(y), self.rest)
        return at_time(u, t, args) if self.moving else u

    def wanted(self, t: Any, y: Array, args: Any) -> Callable[[Point], Value]:
        """What the parameters are to do, as a function of a point."""
        u = self.field(t, y, args)

        def at(x):
            value = jnp.asarray(self.evolution.rhs(u, t, x, args), x.dtype)
            if not self.moving:
                return value
            now = lambda t: self.field(t, y, args)(x)
            return value - jax.jvp(now, (t,), (jnp.ones_like(t),))[1]

        return at

    def rows(self, function: Callable[[Point], Value]) -> Float[Array, " rows"]:
        """What the metric sees of a function at the points, not weighted."""
        return jnp.ravel(chunked(lambda x: self.jet(function, x), 256, self.points))

    @property
    def scale(self) -> Float[Array, " rows"]:
        """Of the rows, so that their squares sum to the square of the norm."""
        each = len(self.jet.terms) * (self.evolution.out or 1)
        return jnp.sqrt(jnp.repeat(self.weights, each))

    def jacobian(
        self, function: Callable[[Array], Callable], y: Array
    ) -> Float[Array, "rows params"]:
        """The derivative of the rows of a function that depends on the parameters."""
        at = lambda x: jax.jacrev(lambda y: self.jet(function(y), x))(y)
        return chunked(at, 256, self.points).reshape(-1, y.size)

    def missed(self, t: Any, y: Array, args: Any) -> Array:
        """The residuals of the boundary conditions that are not built in."""
        u = self.field(t, y, args)
        return wall_rows(self.conditions, self.wall_points, u, t, args)

    def velocity(self, t: Any, y: Array, args: Any) -> Array:
        """The projected right-hand side."""
        t = jnp.asarray(t, y.dtype)
        matrix = self.jacobian(lambda y: self.field(t, y, args), y)
        matrix = matrix * self.scale[:, None]
        target = self.rows(self.wanted(t, y, args)) * self.scale
        if self.conditions:
            at = lambda t: self.missed(t, y, args)
            miss, slope = jax.jvp(at, (t,), (jnp.ones_like(t),))
            wall = jax.jacrev(lambda y: self.missed(t, y, args))(y)
            firm = FIRM * jnp.linalg.norm(matrix) / jnp.linalg.norm(wall)
            matrix = jnp.concatenate([matrix, firm * wall])
            target = jnp.concatenate([target, -firm * (slope + self.speed * miss)])
        return damped_solution(matrix, target, self.damping)

    def defect(self, t: Any, y: Array, args: Any) -> Float[Array, " 3"]:
        """As that of frozen features: held-out mean squares of what is left over, of
        what is asked for, and of the field."""
        t = jnp.asarray(t, y.dtype)
        velocity = self.velocity(t, y, args)
        wanted = jnp.ravel(chunked(self.wanted(t, y, args), 256, self.held_out))
        at = lambda x: jax.jvp(
            lambda y: jnp.ravel(self.field(t, y, args)(x)), (y,), (velocity,)
        )[1]
        done = jnp.ravel(chunked(at, 256, self.held_out))
        values = jax.vmap(self.field(t, y, args))(self.held_out)
        each = self.evolution.out or 1
        seen = jnp.repeat(self.seen, each)
        parts = (wanted - done, wanted, jnp.ravel(values))
        return jnp.stack([jnp.mean(seen * v**2) for v in parts])

    def start(self, t0: Any, args: Any) -> tuple[Array, Array]:
        """The parameters that were fitted, and what they miss of the initial values."""
        y = jfu.ravel_pytree(self.params)[0]
        t = jnp.asarray(t0, y.dtype)
        u = self.field(t, y, args)
        wanted = jax.vmap(lambda x: self.evolution.initial_value(x, args))(
            self.held_out
        )
        miss = jax.vmap(u)(self.held_out) - wanted
        root = jnp.sqrt(self.seen).reshape(-1, *[1] * (wanted.ndim - 1))
        # What starts at zero is measured by where it goes.
        goes = jax.vmap(self.wanted(t, y, args))(self.held_out)
        small = 1e-3 * (RETURN / self.speed) * jnp.linalg.norm(root * goes)
        size = jnp.maximum(jnp.linalg.norm(root * wanted), small)
        return y, jnp.linalg.norm(root * miss) / size

    def renewed(self, t: Any, y: Array, args: Any) -> "Moving":
        """The same on points that follow the field (in boxes of up to three dimensions)."""
        if not followable(self.evolution):
            return self  # without a compilation
        return _followed(self, jnp.asarray(t, y.dtype), y, args)


def followable(evolution: Evolution) -> bool:
    """Whether points are tensor rules that can be stretched by axis."""
    return isinstance(evolution.domain, AbstractBox) and evolution.dim <= 3


@lean
def _followed(motion: Moving, t, y, args) -> Moving:
    return followed(motion, motion.field(t, y, args))


def followed(motion: Moving, u: PyTree) -> Moving:
    """A motion on points that follow a function."""
    if not followable(motion.evolution):
        return motion
    domain = motion.evolution.domain
    axes = tuple(periods(motion.evolution))
    each = round(len(motion.points) ** (1 / domain.dim))
    found = densities(domain, axes, each, u, motion.points.dtype)
    points, weights = stretched(found, axes, each)
    held_out, seen = scattered(found, motion.levels)
    return eqx.tree_at(
        lambda m: (m.points, m.weights, m.held_out, m.seen),
        motion,
        (points, weights, held_out, seen),
    )


START = "initial values"
"""The name of the one condition of `starting`."""


def starting(evolution: Evolution, moving: bool) -> Problem:
    """The problem of meeting the initial values, with `(t0, args)` as its `args`.

    **Arguments:**

    - `moving`: whether boundary data built into the unknown change in time.
    """

    def miss(u, x, both):
        t, args = both
        now = at_time(u, t, args) if moving else u
        return now(x) - evolution.initial_value(x, args)

    condition = Condition(miss, evolution.domain.interior, name=START)
    return Problem(condition, out=evolution.out)


def fitted(
    evolution: Evolution, unknown: PyTree, t0: float, args: Any, key: Any, limit: Any
) -> PyTree:
    """The unknown with all parameters fitted to the initial values."""
    problem = starting(evolution, has_moments(unknown))
    settings = Settings.checked(
        max_steps=2000,
        time_limit=limit,
        tolerance=None,
        callbacks=(),
        progress=None,
        checkpoint=None,
        observe=None,
    )
    both = (jnp.asarray(t0), args)
    _, *keys = jr.split(key, 3)
    # Not by `solve`, which would miss conditions on the boundary.
    _, found = run_stages(problem, unknown, both, (AllParameters(),), settings, *keys)
    return found.field


def moving(
    evolution: Evolution,
    unknown: PyTree,
    t0: float,
    t1: float,
    args: Any,
    key: Any,
    num: int | None = None,
    jet: Jet = VALUES,
    damping: float = DAMPING,
) -> Moving:
    """The motion of all parameters of a field that fits the initial values."""
    params, rest = partition(unknown)
    flat, _ = jfu.ravel_pytree(params)
    kind = flat.dtype
    num = 3 * flat.size // (evolution.out or 1) if num is None else num
    points, weights = rule(evolution, num)
    held_out, _ = evolution.domain.interior.sample(256, key)
    levels = held_out
    if followable(evolution):
        lower, upper = evolution.domain.bounds
        levels = (np.asarray(held_out) - lower) / (upper - lower)
    conditions = left_over(evolution, unknown)
    walls = tuple(
        jnp.asarray(c.region.quadrature(max(1, num // 8))[0], kind) for c in conditions
    )
    speed = RETURN / (t1 - t0)
    cast = lambda a: jnp.asarray(np.asarray(a), kind)
    found = Moving(
        evolution,
        rest,
        params,
        cast(points),
        cast(weights),
        cast(held_out),
        jnp.ones((len(held_out),), kind),
        cast(levels),
        walls,
        conditions,
        jet,
        cast(speed),
        cast(damping),
        has_moments(unknown),
    )
    return found.renewed(t0, flat, args)
