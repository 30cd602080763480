"""A statement as functions of the parameters of a tanh network, in plain JAX: for methods
that bring an optimiser and nothing else."""

import functools

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np


def glorot(layers, key):
    """Weights and biases: Glorot's normal distribution, and zero."""
    keys = jr.split(key, len(layers) - 1)
    shapes = zip(keys, layers[:-1], layers[1:], strict=True)
    return [
        (jr.normal(k, (n, m)) * np.sqrt(2 / (m + n)), jnp.zeros(n))
        for k, m, n in shapes
    ]


def tanh_network(params, x):
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jnp.tanh(w @ x + b)
    return (weight @ x + bias)[0]


def jet(u, x):
    """The value of a function at a point, its slopes, and its second derivatives along the
    axes."""

    def along(axis):
        slope = lambda y: jax.jvp(u, (y,), (axis,))[1]
        return jax.jvp(slope, (x,), (axis,))

    return u(x), *jax.vmap(along)(jnp.eye(len(x)))


class Plain:
    """A statement, a network and points; parameters are one vector `y`."""

    def __init__(self, race):
        self.statement = statement = race.statement
        self.interior, self.boundary = map(jnp.asarray, statement.training(race.seed))
        params = glorot(statement.layers, jr.key(race.seed))
        self.start, self.unravel = jfu.ravel_pytree(params)
        race.params = len(self.start)
        race.points = len(self.interior)
        if statement.factor is None:
            race.points += len(self.boundary)

    def value(self, y, x):
        factor = self.statement.factor
        network = tanh_network(self.unravel(y), x)
        return network if factor is None else factor(jnp, x) * network

    def inner(self, y, x):
        """What the equation leaves at one point."""
        u, du, ddu = jet(lambda x: self.value(y, x), x)
        return self.statement.equation(jnp, x, u, du, ddu)

    def outer(self, y, x):
        """What the data leave at one point of the faces."""
        return self.value(y, x) - self.statement.data(jnp, x)

    @property
    def terms(self):
        """Residuals and their points, each to be squared and averaged."""
        inner = (self.inner, self.interior)
        if self.statement.factor is not None:
            return (inner,)
        return inner, (self.outer, self.boundary)

    def _stacked(self, transform, y):
        blocks = [
            jax.vmap(transform(f), (None, 0))(y, x) / np.sqrt(len(x))
            for f, x in self.terms
        ]
        return jnp.concatenate(blocks)

    def residual(self, y):
        """The vector whose square is twice the loss."""
        return self._stacked(lambda f: f, y)

    def jacobian(self, y):
        return self._stacked(jax.grad, y)

    def loss(self, y):
        return 0.5 * jnp.sum(self.residual(y) ** 2)

    @functools.cached_property
    def values(self):
        """`values(y, points)`, compiled."""
        return jax.jit(jax.vmap(self.value, (None, 0)))


def run(race, plain, step, state, y_of=lambda state: state):
    """Compiles `step`, which maps a state to the next, and steps while there is time.

    Twice, as the types of a first state and of a later one may differ.
    """
    jax.block_until_ready(step(step(state)))
    values = lambda points: plain.values(y_of(state), points)
    values(race.statement.evaluation())
    race.start()
    while race.look(values):
        state = jax.block_until_ready(step(state))
    return state
