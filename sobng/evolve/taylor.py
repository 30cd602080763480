"""Which derivatives a right-hand side needs, and functions made of just these."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.once import once
from sobng.typing import Point, Value


MOST = {1: 6, 2: 4, 3: 4}
"""The highest order of derivative that is looked for, by dimension; 2 beyond."""

Orders = tuple[tuple[int, ...], ...]
"""One multi-index for each derivative."""


def orders_up_to(dim: int, order: int) -> Orders:
    """All multi-indices of at most an order, by order."""
    indices = itertools.product(range(order + 1), repeat=dim)
    if dim > 3:  # the product would be large, and the order is at most two
        units = [tuple(int(i == j) for j in range(dim)) for i in range(dim)]
        pairs = itertools.combinations_with_replacement(units, 2)
        second = [tuple(map(sum, zip(a, b, strict=True))) for a, b in pairs]
        indices = [(0,) * dim, *units, *second]
    return by_order(i for i in indices if sum(i) <= order)


def by_order(indices: Iterable[tuple[int, ...]]) -> Orders:
    """Multi-indices in the order in which tables hold them."""
    return tuple(sorted(indices, key=lambda i: (sum(i), i)))


def orders_of_derivatives(orders: Orders, further: Orders) -> Orders:
    """What the further derivatives of a function of some derivatives are made of."""
    below = {
        i for most in further for i in itertools.product(*(range(k + 1) for k in most))
    }
    found = {tuple(map(sum, zip(a, b, strict=True))) for a in orders for b in below}
    return by_order(found)


def derivative(function: Callable, order: Sequence[int]) -> Callable[[Point], Value]:
    """One partial derivative of a function of one point."""

    def along(inner, axis):
        def slope(x):
            unit = jnp.zeros_like(x).at[axis].set(1)
            return jax.jvp(inner, (x,), (unit,))[1]

        return slope

    for axis, times in enumerate(order):
        for _ in range(times):
            function = along(function, axis)
    return function


def derivatives(function: Callable, orders: Orders) -> Callable[[Point], Array]:
    """Several partial derivatives, stacked: `[orders, *out]`."""
    return lambda x: jnp.stack([derivative(function, o)(x) for o in orders])


class Taylor(eqx.Module):
    """The polynomial with given derivatives at one point.

    A differential operator at that point sees no difference to the function that it
    stands for.
    """

    centre: Point
    partials: Float[Array, "orders ..."]
    orders: Orders = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        apart = x - self.centre
        total = jnp.zeros(self.partials.shape[1:], self.partials.dtype)
        for order, value in zip(self.orders, self.partials, strict=True):
            term = value / math.prod(math.factorial(times) for times in order)
            for axis, times in enumerate(order):
                if times:
                    term = term * jax.lax.integer_pow(apart[axis], times)
            total = total + term
        return total


def needed_orders(
    rhs: Callable, fields: Sequence[Callable], points: Float[Array, "n dim"]
) -> Orders | None:
    """The derivatives that a right-hand side `rhs(u, x)` reads off a function `u`.

    Tried on some functions at some points. `None` if no set of derivatives reproduces
    it: a term that looks elsewhere than at `x`, or a very high order; or if it is finite
    nowhere, as a root of something negative is.
    """
    dim = points.shape[1]
    for most in range(MOST.get(dim, 2) + 1):
        orders = orders_up_to(dim, most)
        if all(_same(rhs, u, points, orders) for u in fields):
            used = np.any([_used(rhs, u, points, orders) for u in fields], axis=0)
            used[0] = True
            return tuple(o for o, keep in zip(orders, used, strict=True) if keep)
    return None


# Fields are PyTrees of like structure: each of these is compiled once for all trials.


@once
def _both(rhs, u, points, orders):
    def at(x):
        local = Taylor(x, derivatives(u, orders)(x), orders)
        return jnp.asarray(rhs(u, x)), jnp.asarray(rhs(local, x))

    return jax.vmap(at)(points)


def _same(rhs, u, points, orders) -> bool:
    one, other = _both(rhs, u, points, orders)
    reach = 1e3 * float(jnp.finfo(one.dtype).eps) ** 0.75
    # Trials are any functions, and roots and logarithms know positive ones only.
    finite = jnp.isfinite(one)
    apart, size = (jnp.where(finite, jnp.abs(v), 0) for v in (one - other, one))
    return bool(jnp.any(finite) & (jnp.max(apart) <= reach * jnp.max(size)))


@once
def _slopes(rhs, u, points, orders):
    def at(x):
        local = lambda partials: jnp.asarray(rhs(Taylor(x, partials, orders), x))
        partials = derivatives(u, orders)(x)
        found = jnp.moveaxis(jax.jacfwd(local)(partials), -partials.ndim, 0)
        # What is not finite would seem to depend on all of them.
        return jnp.where(jnp.all(jnp.isfinite(local(partials))), found, 0)

    return jax.vmap(at)(points)


def _used(rhs, u, points, orders) -> np.ndarray:
    """Whether each derivative changes the right-hand side, at some point."""
    found = _slopes(rhs, u, points, orders)  # [n, orders, ...]
    return np.asarray(jnp.any(found != 0, axis=(0, *range(2, found.ndim))))


def sensitivities(rhs: Callable, local: Taylor) -> Any:
    """The derivative of `rhs(u, x)` in the derivatives of `u`: `[*out, orders, *out]`."""
    at = lambda p: jnp.asarray(rhs(Taylor(local.centre, p, local.orders), local.centre))
    return jax.jacfwd(at)(local.partials)
