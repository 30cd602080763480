"""Natural gradients as their authors wrote them down, re-stated in plain JAX."""

import jax
import jax.numpy as jnp
from plain import Plain, run


def _line_search(plain, y, direction):
    """The best of the steps 1, 1/2, .., 2^-30 along a direction."""
    sizes = 0.5 ** jnp.arange(31.0)
    losses = jax.lax.map(lambda size: plain.loss(y - size * direction), sizes)
    return y - sizes[jnp.nanargmin(losses)] * direction


def engd(race):
    """Energy natural gradient descent: G d = grad by least squares, G = J^T J dense."""
    plain = Plain(race)

    @jax.jit
    def step(y):
        jacobian, residual = plain.jacobian(y), plain.residual(y)
        gram, slope = jacobian.T @ jacobian, jacobian.T @ residual
        return _line_search(plain, y, jnp.linalg.lstsq(gram, slope)[0])

    run(race, plain, step, plain.start)


def spring(race, momentum=0.9, damping=1e-10):
    """Of the directions that the residual asks for the one nearest to the last:

        d = m d' + J^T (J J^T + s)^-1 (r - m J d').

    By the push-through identity J^T (J J^T + s)^-1 = (J^T J + s)^-1 J^T the smaller of the
    two matrices is solved with.
    """
    plain = Plain(race)

    @jax.jit
    def step(state):
        y, last = state
        jacobian = plain.jacobian(y)
        rest = plain.residual(y) - momentum * (jacobian @ last)
        rows, params = jacobian.shape
        small = jacobian if rows < params else jacobian.T
        matrix = small @ small.T + damping * jnp.eye(len(small))
        solve = lambda b: jax.scipy.linalg.solve(matrix, b, assume_a="pos")
        dual = rows < params
        found = jacobian.T @ solve(rest) if dual else solve(jacobian.T @ rest)
        direction = momentum * last + found
        return _line_search(plain, y, direction), direction

    start = plain.start, jnp.zeros_like(plain.start)
    run(race, plain, step, start, lambda state: state[0])
