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
from sobng.evolve.features import rule
from sobng.evolve.galerkin import wall_rows
from sobng.evolve.projection import FIRM, RETURN
from sobng.evolve.walls import at_time, has_moments, left_over
from sobng.fields.partition import combine, partition
from sobng.geometry.box import Interval
from sobng.linalg.damped import damped_solution
from sobng.metrics.sobolev import Jet, VALUES
from sobng.problem import Condition, Evolution, Problem
from sobng.settings import Settings
from sobng.solve import run_stages
from sobng.stages.all_parameters import AllParameters
from sobng.typing import Point, Value


DAMPING = 1e-9
"""Relative to the root mean square of the singular values of the Jacobian."""

CLUSTERED = 0.7
"""The share of the points of an interval that follows the slopes."""


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
        return jnp.stack([jnp.mean(v**2) for v in (wanted - done, wanted, values)])

    def start(self, t0: Any, args: Any) -> tuple[Array, Array]:
        """The parameters that were fitted, and what they miss of the initial values."""
        y = jfu.ravel_pytree(self.params)[0]
        u = self.field(jnp.asarray(t0, y.dtype), y, args)
        wanted = jax.vmap(lambda x: self.evolution.initial_value(x, args))(
            self.held_out
        )
        miss = jax.vmap(u)(self.held_out) - wanted
        return y, jnp.linalg.norm(miss) / jnp.linalg.norm(wanted)

    def renewed(self, t: Any, y: Array, args: Any) -> "Moving":
        """The same on points that follow the slopes of the field (on an interval)."""
        if not isinstance(self.evolution.domain, Interval):
            return self
        points, weights = _following(self, jnp.asarray(t, y.dtype), y, args)
        return eqx.tree_at(lambda m: (m.points, m.weights), self, (points, weights))


@eqx.filter_jit
def _following(motion: Moving, t, y, args):
    """Points whose density is a constant plus the slope of the field, with weights."""
    (low,), (high,) = motion.evolution.domain.bounds
    num = len(motion.points)
    cells = jnp.linspace(low, high, 4 * num + 1).astype(y.dtype)
    u = motion.field(t, y, args)
    values = jax.vmap(u)(cells[:, None]).reshape(len(cells), -1)
    width = (high - low) / (4 * num)
    slope = jnp.linalg.norm(jnp.diff(values, axis=0), axis=1) / width
    # A moving average, so that neighbouring points have like weights.
    slope = jnp.convolve(slope, jnp.ones(33, y.dtype) / 33, mode="same")
    even = jnp.ones_like(slope) / (high - low)
    steep = slope / jnp.maximum(jnp.sum(slope) * width, jnp.finfo(y.dtype).tiny)
    density = (1 - CLUSTERED) * even + CLUSTERED * steep
    mass = jnp.concatenate([jnp.zeros(1, y.dtype), jnp.cumsum(density) * width])
    level = (jnp.arange(num, dtype=y.dtype) + 0.5) / num * mass[-1]
    points = jnp.interp(level, mass, cells)
    here = jnp.interp(points, (cells[1:] + cells[:-1]) / 2, density)
    return points[:, None], mass[-1] / (num * here)


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
) -> Moving:
    """The motion of all parameters of a field that fits the initial values."""
    params, rest = partition(unknown)
    flat, _ = jfu.ravel_pytree(params)
    kind = flat.dtype
    num = 3 * flat.size // (evolution.out or 1) if num is None else num
    points, weights = rule(evolution, num)
    held_out, _ = evolution.domain.interior.sample(256, key)
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
        walls,
        conditions,
        jet,
        cast(speed),
        cast(DAMPING),
        has_moments(unknown),
    )
    return found.renewed(t0, flat, args)
