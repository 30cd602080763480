"""The linearised residuals of a problem as functionals, and a kernel under two of them."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.fields.algebra import add, entries, rebuild
from sobng.kernels.kernel import AbstractKernel, pairwise
from sobng.problem import AbstractCondition
from sobng.system import System
from sobng.typing import Point


PAIRS = 2**17
"""Of points that are differentiated together, each with all intermediate values."""


def functional(condition: AbstractCondition, unknown: PyTree, args: Any) -> Callable:
    """The derivative of a residual at `unknown`: maps a direction and a point to `[m]`."""

    def at(direction, x):
        def residual(eps):
            moved = add(unknown, direction, eps)
            return jnp.ravel(jnp.asarray(condition.residual(moved, x, args)))

        eps = jnp.zeros((), x.dtype)
        return jax.jvp(residual, (eps,), (jnp.ones_like(eps),))[1]

    return at


def components(unknown: PyTree, x: Point) -> Iterator[Callable]:
    """For each component of each field, what makes a scalar function a direction."""
    for name, u in entries(unknown).items():
        if not callable(u):
            continue
        shape = jax.eval_shape(u, x).shape
        for unit in jnp.eye(math.prod(shape), dtype=x.dtype).reshape(-1, *shape):

            def direction(scalar, name=name, unit=unit):
                return rebuild(unknown, {name: lambda y: scalar(y) * unit})

            yield direction


def conditions(system: System) -> list[tuple[AbstractCondition, Float[Array, "n dim"]]]:
    """The conditions in the order of the residual, with their points."""
    found = [c for c in system.problem.conditions if c.name in system.names]
    return [(c, system.collocation.points[c.name]) for c in found]


@eqx.filter_jit
def residual_kernel(
    kernel: AbstractKernel, system: System, params: PyTree, args: Any
) -> Float[Array, "rows rows"]:
    r"""The kernel with the linearised residual applied in both of its arguments.

    The components of the unknown are independent, with the same kernel.

    **Returns:** $D_x D_y K$ for all pairs of rows of the residual, without weights.
    """
    unknown = system.unknown(params)
    parts = conditions(system)
    blocks: dict[tuple[int, int], Array] = {}
    for i, (one, first) in enumerate(parts):
        for j, (two, second) in enumerate(parts[: i + 1]):
            pair = functools.partial(
                _pair,
                kernel,
                functional(one, unknown, args),
                functional(two, unknown, args),
                list(components(unknown, first[0])),
            )
            block = pairwise(pair, first, second, PAIRS)  # [n, n', m, m']
            n, other, m, width = block.shape
            block = block.transpose(0, 2, 1, 3).reshape(n * m, other * width)
            blocks[i, j], blocks[j, i] = block, block.T
    num = range(len(parts))
    return jnp.block([[blocks[i, j] for j in num] for i in num])


def _pair(kernel, first, second, directions, x, y):
    def one(direction):
        def inner(x):
            return second(direction(lambda y: kernel(x, y)), y)

        width = jax.eval_shape(inner, x).shape[0]
        outer = lambda unit: first(direction(lambda x: inner(x) @ unit), x)
        return jax.vmap(outer, out_axes=1)(jnp.eye(width, dtype=x.dtype))

    return sum(one(direction) for direction in directions)


def derivative_order(system: System, params: PyTree, args: Any) -> int:
    """How many derivatives of the unknown the residuals take, counted while tracing."""
    highest = 0

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def probe(order, x):
        del order
        return jnp.zeros((), x.dtype)

    @probe.defjvp
    def _(order, primals, tangents):
        nonlocal highest
        highest = max(highest, order + 1)
        slope = probe(order + 1, *primals) * jnp.sum(tangents[0])
        return probe(order, *primals), slope

    unknown = system.unknown(params)
    for condition, points in conditions(system):
        for direction in components(unknown, points[0]):
            scalar = functools.partial(probe, 0)
            at = functional(condition, unknown, args)
            jax.eval_shape(lambda x: at(direction(scalar), x), points[0])  # noqa: B023
    return highest


def sees_field(system: System, args: Any) -> bool:
    """Whether the linearised residuals may depend on the parameters.

    `False` is certain; what a loop or a derivative rule hides counts as dependence.
    """

    def images(params, points):
        unknown = system.unknown(params)
        return [
            functional(condition, unknown, args)(
                direction(lambda y: jnp.sum(jnp.sin(y))), x
            )
            for (condition, _), x in zip(conditions(system), points, strict=True)
            for direction in components(unknown, x)
        ]

    points = [points[0] for _, points in conditions(system)]
    closed = jax.make_jaxpr(images)(system.params, points)
    count = len(jax.tree.leaves(system.params))
    marks = [i < count for i in range(len(closed.jaxpr.invars))]
    return any(_reached(closed, marks))


def _reached(closed: jex.ClosedJaxpr, marks: list[bool]) -> list[bool]:
    """Which results depend on the marked arguments."""
    jaxpr = closed.jaxpr
    reached = {v for v, mark in zip(jaxpr.invars, marks, strict=True) if mark}

    def marked(atoms):
        return [not isinstance(a, jex.Literal) and a in reached for a in atoms]

    for equation in jaxpr.eqns:
        into = marked(equation.invars)
        if equation.primitive.name in ("jit", "pjit"):
            out = _reached(equation.params["jaxpr"], into)
        else:
            out = [any(into)] * len(equation.outvars)
        reached |= {v for v, mark in zip(equation.outvars, out, strict=True) if mark}
    return marked(jaxpr.outvars)
