"""Integrals over the domain that a run keeps."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from sobng.evolve.features import rule
from sobng.evolve.galerkin import Galerkin
from sobng.evolve.taylor import needed_orders, Orders, Taylor
from sobng.once import once
from sobng.precision import matmul
from sobng.problem import Evolution
from sobng.typing import Point, Value


NEWTON = 3
"""Steps back onto the level set; each doubles the digits that a step in time left."""

APART = 1e-6
"""The least angle between slopes that tell two integrals apart."""


class Invariants(eqx.Module):
    r"""$I_k(u) = \int f_k(u, x)$ on the weighted points of one motion, to be kept.

    Lengths of velocities and corrections are $L^2$ norms of what they do to the field
    for frozen features, with its heavy boundary rows, and those of parameters for others.
    """

    integrands: tuple[Callable, ...] = eqx.field(static=True)
    points: Float[Array, "n dim"]
    weights: Float[Array, " n"]
    frame: Float[Array, "r r"] | None  # of frozen features
    target: Float[Array, " k"]
    scale: Float[Array, " k"]

    def densities(
        self, motion: Any, t: Any, y: Float[Array, " r"], args: Any
    ) -> Float[Array, "n k"]:
        """The integrands at the points."""
        both = lambda u, x: _stacked(self.integrands, u, x, args)
        if self.frame is None:
            u = motion.field(t, y, args)
            return jax.vmap(lambda x: both(u, x))(self.points)
        table, lift = motion.table, motion.lift_at(args)

        def at(x, partials):
            local = Taylor(x, partials, table.orders)
            if lift is None:
                return both(local, x)
            now = lift(t)
            return both(lambda x: local(x) + now(x), x)

        return jax.vmap(at)(self.points, table.partials(y))

    def values(
        self, motion: Any, t: Any, y: Float[Array, " r"], args: Any
    ) -> Float[Array, " k"]:
        """The integrals at one time."""
        return matmul(self.weights, self.densities(motion, t, y, args))

    def slopes(
        self, motion: Any, t: Any, y: Float[Array, " r"], args: Any
    ) -> tuple[Float[Array, " k"], Float[Array, "k r"]]:
        """The integrals and their derivatives in the state."""
        values, pull = jax.vjp(lambda y: self.values(motion, t, y, args), y)
        (slopes,) = jax.vmap(pull)(jnp.eye(len(values), dtype=values.dtype))
        return values, slopes

    def steepness(self, slopes: Float[Array, "k r"]) -> Float[Array, "k r"]:
        """Slopes in orthonormal coordinates."""
        return slopes if self.frame is None else matmul(slopes, self.frame)

    def least(
        self, slopes: Float[Array, "k r"], change: Float[Array, " k"]
    ) -> Float[Array, " r"]:
        """The shortest step that changes the linearised integrals so much."""
        steep = self.steepness(slopes)
        size = jnp.linalg.norm(steep, axis=1)
        size = jnp.where(size > 0, size, 1)
        unit = steep / size[:, None]
        # The ridge is rounding, and leaves integrals alone that a later field does not
        # tell apart.
        ridge = jnp.finfo(unit.dtype).eps * jnp.eye(len(unit), dtype=unit.dtype)
        pull = jnp.linalg.solve(matmul(unit, unit.T) + ridge, change / size)
        step = matmul(unit.T, pull)
        return step if self.frame is None else matmul(self.frame, step)

    def tangential(
        self, motion: Any, t: Any, y: Array, velocity: Float[Array, " r"], args: Any
    ) -> Float[Array, " r"]:
        """The nearest velocity that changes no integral."""
        _, slopes = self.slopes(motion, t, y, args)
        change = matmul(slopes, velocity)
        if motion.moving:
            values = lambda t: self.values(motion, t, y, args)
            change = change + jax.jvp(values, (t,), (jnp.ones_like(t),))[1]
        return velocity - self.least(slopes, change)

    def restored(
        self, motion: Any, t: Any, y: Float[Array, " r"], args: Any
    ) -> Float[Array, " r"]:
        """The state brought back to where the integrals have their first values."""

        def newton(y, _):
            values, slopes = self.slopes(motion, t, y, args)
            return y + self.least(slopes, self.target - values), None

        return jax.lax.scan(newton, y, None, length=NEWTON)[0]

    def drift(
        self, motion: Any, t: Any, y: Float[Array, " r"], args: Any
    ) -> Float[Array, " k"]:
        """How far the integrals are from their first values, relative to those of the
        integrands' absolute values."""
        return (self.values(motion, t, y, args) - self.target) / self.scale


class Conserved(eqx.Module):
    """What is to be kept, before it is known what moves."""

    evolution: Evolution
    integrands: tuple[Callable, ...] = eqx.field(static=True)
    orders: Orders = eqx.field(static=True)  # derivatives that the integrands read

    def on(
        self,
        motion: Any,
        t0: Any,
        y0: Float[Array, " r"],
        args: Any,
        first: Invariants | None = None,
    ) -> Invariants:
        """The integrals of one motion, to be kept as they are at the start.

        **Arguments:**

        - `first`: those of the motion that the run began on, if that was another one.

        **Raises:** `ValueError` if the first field leaves no direction to keep them in.
        """
        count = len(self.integrands)
        if count > y0.size:
            raise ValueError(
                f"`conserve` names {count} integrands, and the field has {y0.size} "
                "parameters that move. Name fewer, or use a larger field."
            )
        if isinstance(motion, Galerkin):
            assert {*self.orders} <= {*motion.table.orders}
            points, frame = motion.table.points, _frame(motion)
            weights = motion.weights[: len(points) * (self.evolution.out or 1)]
            weights = weights[:: self.evolution.out or 1]
        else:
            # Points of its own may move from step to step.
            made = rule(self.evolution, len(motion.points))
            points, weights = (jnp.asarray(a, y0.dtype) for a in made)
            frame = None
        ones = jnp.ones((count,), y0.dtype)
        target, scale = (ones, ones) if first is None else (first.target, first.scale)
        bare = Invariants(self.integrands, points, weights, frame, target, scale)
        if first is not None:
            return bare
        target, scale, steep = _begun(bare, motion, jnp.asarray(t0, y0.dtype), y0, args)
        _check_slopes(self.integrands, scale, steep, jnp.linalg.norm(y0))
        scale = jnp.where(scale > 0, scale, jnp.linalg.norm(steep, axis=1))
        return eqx.tree_at(lambda i: (i.target, i.scale), bare, (target, scale))


def _frame(motion: Galerkin) -> Float[Array, "r r"]:
    """States of an orthonormal basis, one a column; on the host, once for a run.

    Of the table itself: its noisiest functions are orthonormal to a few digits only.
    """
    rows = np.asarray(motion.table.values)
    if motion.walls is not None:
        rows = np.concatenate([rows, np.asarray(motion.walls.matrix)])
    scale = np.sqrt(np.asarray(motion.weights))
    used = np.flatnonzero(np.any(rows != 0, axis=0))  # the others are padding
    triangle = np.linalg.qr(rows[:, used] * scale[:, None], mode="r")
    frame = np.zeros((rows.shape[1],) * 2, rows.dtype)
    frame[np.ix_(used, used)] = np.linalg.inv(triangle)
    return jnp.asarray(frame)


@once
def _begun(bare: Invariants, motion, t0, y0, args):
    densities = jnp.abs(bare.densities(motion, t0, y0, args))
    target, slopes = bare.slopes(motion, t0, y0, args)
    return target, matmul(bare.weights, densities), bare.steepness(slopes)


def _check_slopes(integrands, scale, steep, length) -> None:
    size = jnp.linalg.norm(steep, axis=1)
    for f, total, slope in zip(integrands, scale, size, strict=True):
        if not bool(jnp.isfinite(total + slope)):
            raise ValueError(_not_finite(f))
        # Homogeneous integrands have slopes of about their size over that of the field.
        least = jnp.finfo(slope.dtype).eps ** 0.5 * total
        if bool(slope * jnp.where(length > 0, length, 1) <= least):
            raise ValueError(
                f"The integral of `{_name(f)}` does not change to first order with the "
                "initial field, so nothing can keep it. Leave it out of `conserve`."
            )
    angles = jnp.linalg.svd(steep / size[:, None], compute_uv=False)
    if bool(angles[-1] < APART):
        names = ", ".join(f"`{_name(f)}`" for f in integrands)
        raise ValueError(
            f"The integrals of {names} change together with the initial field, so that "
            "they cannot be kept one by one. Leave some out of `conserve`."
        )


def conserved(integrands: Any, evolution: Evolution, args: Any, key: Any) -> Conserved:
    """Looks at integrands, if there are any.

    **Raises:** `ValueError` for what is no finite scalar function of a field at a point.
    """
    if not isinstance(integrands, list | tuple) or not all(map(callable, integrands)):
        raise ValueError(
            "`conserve` is a list of integrands `f(u, x, args)`. Got "
            f"{integrands!r}. Write `conserve=[f]`, also for one."
        )
    integrands = tuple(integrands)
    if not integrands:
        return Conserved(evolution, (), ())
    points, _ = evolution.domain.interior.sample(8, key)
    points = jnp.asarray(points, jnp.result_type(float))
    initial = lambda x: evolution.initial_value(x, args)
    for f in integrands:
        _check_scalar(f, initial, points[0], args)
    first = jax.vmap(initial)(points)
    sizes = jnp.max(
        jnp.abs(jax.vmap(lambda x: _stacked(integrands, initial, x, args))(points)),
        axis=0,
    )
    for f, size in zip(integrands, sizes, strict=True):
        if not bool(jnp.isfinite(size)):
            raise ValueError(_not_finite(f))
    sizes = jnp.where(sizes > 0, sizes, 1)
    blank = jnp.max(jnp.abs(first), axis=0) == 0
    spread = jnp.std(points, axis=0)
    trials = [
        _Trial(evolution, args, blank, jr.normal(k, spread.shape) / spread)
        for k in jr.split(key)
    ]
    at = lambda u, x: _stacked(integrands, u, x, args) / sizes
    orders = needed_orders(at, trials, points)
    if orders is None:
        raise ValueError(
            "An integrand of `conserve` reads the field elsewhere than at its point, or "
            "derivatives of a very high order. Write it by values and derivatives at `x`."
        )
    return Conserved(evolution, integrands, orders)


class _Trial(eqx.Module):
    """The initial field with a wave upon it that changes no sign."""

    evolution: Evolution
    args: PyTree
    blank: Any  # where the initial field is zero
    wave: Float[Array, " dim"]

    def __call__(self, x: Point) -> Value:
        value = self.evolution.initial_value(x, self.args)
        size = jnp.where(self.blank, jnp.ones_like(value), value)
        return value + size * jnp.sin(jnp.dot(self.wave, x)) / 3


def _stacked(integrands, u, x, args) -> Float[Array, " k"]:
    return jnp.stack([jnp.asarray(f(u, x, args), x.dtype) for f in integrands])


def _check_scalar(f: Callable, initial: Callable, x: Point, args: Any) -> None:
    try:
        found = jax.eval_shape(lambda x: jnp.asarray(f(initial, x, args)), x)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The integrand `{_name(f)}(u, x, args)` of `conserve` cannot be evaluated at "
            f"a point of shape {x.shape}: {lines[0].rstrip('.')}."
        ) from error
    if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(
            f"The integrand `{_name(f)}` of `conserve` returns {found.dtype} of shape "
            f"{found.shape} at one point. Return one real number."
        )


def _not_finite(f: Callable) -> str:
    return (
        f"The integrand `{_name(f)}` of `conserve` or its derivative is not finite for "
        "the initial field. Check where it divides, and its roots and logarithms."
    )


def _name(f: Callable) -> str:
    return getattr(f, "__name__", type(f).__name__)
