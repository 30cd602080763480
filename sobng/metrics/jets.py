"""What a density sees of a field at a point: its value and its derivatives, the jet."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from sobng.fields.algebra import entries, rebuild
from sobng.precision import matmul


MAX_ORDER = 4
"""The highest derivative that a density may have."""


def jet_of(u, x, order):
    """Values and derivatives up to an order of every field; arrays as they are."""

    def one(entry):
        if not callable(entry):
            return [jnp.asarray(entry)]
        found, function = [entry(x)], entry
        for _ in range(order):
            function = jax.jacfwd(function)
            found.append(function(x))
        return found

    return {str(name): one(entry) for name, entry in entries(u).items()}


def local(u, jet, report: Callable[[int], None] = lambda level: None):
    """An unknown with the given jet at the one point where a density asks for it."""

    def field(derivatives):
        return lambda x: _derivative(0, derivatives, report)(x, derivatives)

    parts = {
        name: field(jet[str(name)]) if callable(entry) else jet[str(name)][0]
        for name, entry in entries(u).items()
    }
    return rebuild(u, parts)


def _derivative(level, derivatives, report):
    """The derivative of a level as a function of the point whose own is the next one."""

    @jax.custom_jvp
    def value(x, derivatives):
        return derivatives[level]

    def push(primals, tangents):
        x, derivatives = primals
        along, changes = tangents
        change = changes[level]
        if isinstance(change, SymbolicZero):
            change = jnp.zeros_like(derivatives[level])
        if not isinstance(along, SymbolicZero):
            report(level + 1)
            if level + 1 < len(derivatives):
                up = _derivative(level + 1, derivatives, report)(x, derivatives)
                change = change + matmul(up, along)
        return derivatives[level], change

    value.defjvp(push, symbolic_zeros=True)
    return value


def order_of(density, u, x, args) -> int:
    """The order of the highest derivative that a density asks a field for."""
    found = [0]
    jet = jax.eval_shape(lambda x: jet_of(u, x, 0), x)

    def probe(x):
        zeros = {
            name: [
                jnp.zeros((*shape[0].shape, *(x.size,) * k), shape[0].dtype)
                for k in range(MAX_ORDER + 1)
            ]
            for name, shape in jet.items()
        }
        return density(local(u, zeros, found.append), x, args)

    jax.eval_shape(probe, x)
    order = max(found)
    if order > MAX_ORDER:
        raise ValueError(
            f"The density of an `Energy` has derivatives up to order {MAX_ORDER}. Got "
            f"one of order {order}. State its equation as a `Problem`."
        )
    return order
