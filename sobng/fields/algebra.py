"""Sums and linearisations of unknowns: fields, arrays, and dicts of both."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from sobng.typing import Params, Point, Unknown, Value


class Perturbed(eqx.Module):
    """The function `u + scale v` of one point."""

    u: Callable
    v: Callable
    scale: Any

    def __call__(self, x: Point) -> Value:
        return self.u(x) + self.scale * self.v(x)


class Linearised(eqx.Module):
    """A field's first-order expansion in its parameters, as a function of one point."""

    make: Callable
    params: Params
    tangent: Params

    def __call__(self, x: Point) -> Value:
        value, change = jax.jvp(
            lambda p: self.make(p)(x), (self.params,), (self.tangent,)
        )
        return value + change


def entries(unknown: Unknown) -> dict[str | None, Any]:
    """The entries of a dict unknown by key; a single field under the key `None`."""
    return dict(unknown) if isinstance(unknown, dict) else {None: unknown}


def rebuild(unknown: Unknown, parts: dict[str | None, Any]) -> Unknown:
    """The inverse of `entries`, for an unknown of the same kind."""
    return parts if isinstance(unknown, dict) else parts[None]


def add(u: Unknown, v: Unknown, scale: Any) -> Unknown:
    """`u + scale v`, entry by entry; entries that `v` lacks stay."""
    first, second = entries(u), entries(v)

    def one(name):
        a = first[name]
        if name not in second:
            return a
        b = second[name]
        return Perturbed(a, b, scale) if callable(a) else a + scale * b

    return rebuild(u, {name: one(name) for name in first})


def linearised(
    make: Callable[[Params], Unknown], params: Params, tangent: Params
) -> PyTree:
    """The unknown `make(params)` expanded to first order in its parameters.

    Entries that are callable become functions of one point, arrays become arrays.
    """
    unknown = make(params)
    first = entries(unknown)

    def pick(name):
        return lambda p: entries(make(p))[name]

    def one(name):
        if callable(first[name]):
            return Linearised(pick(name), params, tangent)
        value, change = jax.jvp(pick(name), (params,), (tangent,))
        return value + change

    return rebuild(unknown, {name: one(name) for name in first})
