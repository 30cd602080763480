"""Steps of the Kronecker approximation against dense solves, under Optax."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import sobng as sn
from sobng.metrics.layers import find_layers


def matern(x, y):
    r = jnp.sqrt(jnp.sum((x - y) ** 2) + 1e-12)
    return (1 + r) * jnp.exp(-r)


def make_inputs(key, *shape):
    return jr.normal(key, (6, *shape))


@eqx.filter_jit
def grams_of(model, inputs):
    ones = lambda y: jnp.ones((1, y.size), y.dtype)
    rows = sn.KroneckerMetric().rows(model, find_layers(model), inputs, ones)
    return {name: found.grams() for name, found in rows.items()}


@eqx.filter_jit
def gradient_of(model, inputs):
    loss = lambda m: jnp.mean(jax.vmap(m)(inputs) ** 2)
    return eqx.filter_grad(loss)(model)


def test_the_first_step_is_the_dense_solve_of_each_layer(getkey):
    conv = eqx.nn.Conv1d(2, 4, 3, groups=2, key=getkey())
    norm = eqx.nn.LayerNorm(12)
    dense = eqx.nn.Linear(12, 3, key=getkey())
    model = eqx.nn.Sequential([conv, eqx.nn.Lambda(jnp.ravel), norm, dense])
    inputs = make_inputs(getkey(), 2, 5)
    gradient = gradient_of(model, inputs)
    metric = sn.KroneckerMetric(matern, output=sn.categorical)
    transform = sn.kronecker(metric, damping=0.1, radius=None)
    state = transform.init(eqx.filter(model, eqx.is_inexact_array))
    step, state = eqx.filter_jit(transform.update)(
        gradient, state, model=model, inputs=inputs
    )
    steps, gradients = find_layers(step), find_layers(gradient)
    for name, (a, g) in state.averages.items():
        for s in range(len(a)):
            matrix = jnp.kron(g[s], a[s]) + 0.1 * jnp.eye(a.shape[1] * g.shape[1])
            exact = jnp.linalg.solve(matrix, jnp.ravel(gradients[name].matrix()[s]))
            found = jnp.ravel(steps[name].matrix()[s])
            assert jnp.allclose(found, exact, rtol=1e-8, atol=1e-12)
    # Other parameters have the Euclidean metric.
    assert jnp.allclose(step[2].weight, gradient[2].weight / 1.1, rtol=1e-14)


def test_averages_are_right_from_the_first_measurement(getkey):
    model = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=getkey())
    params = eqx.filter(model, eqx.is_inexact_array)
    batches = [make_inputs(getkey(), 2) for _ in range(3)]
    transform = sn.kronecker(decay=0.5, measure_every=2, refresh_every=4)
    update = jax.jit(
        lambda g, s, x: transform.update(g, s, params, model=model, inputs=x)
    )
    state = transform.init(params)
    for batch in (batches[0], batches[2], batches[1]):
        _, state = update(gradient_of(model, batch), state, batch)
    # One output, so that one sign is exact. Measured at steps 0 and 2, with weights 1/3
    # and 2/3: the second batch was not seen.
    for name, (a, g) in state.averages.items():
        one, two = (grams_of(model, batch)[name] for batch in batches[:2])
        assert jnp.allclose(a, (one[0] + 2 * two[0]) / 3, rtol=1e-12)
        assert jnp.allclose(g, (one[1] + 2 * two[1]) / 3, rtol=1e-12)


def test_a_step_is_no_longer_than_the_radius(getkey):
    model = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=getkey())
    inputs = make_inputs(getkey(), 2)
    gradient = gradient_of(model, inputs)
    params = eqx.filter(model, eqx.is_inexact_array)

    def step(radius):
        transform = sn.kronecker(damping=1e-4, radius=radius)
        update = jax.jit(
            lambda g, s: transform.update(g, s, model=model, inputs=inputs)
        )
        found, _ = update(gradient, transform.init(params))
        return jfu.ravel_pytree(found)[0]

    flat = jfu.ravel_pytree(gradient)[0]
    free = step(None)
    length = float(jnp.sqrt(flat @ free))
    assert jnp.allclose(step(0.5 * length), 0.5 * free, rtol=1e-10)
    assert jnp.allclose(step(2.0 * length), free, rtol=1e-10)


def test_momentum_and_learning_rate_come_from_optax(getkey):
    model = eqx.nn.MLP(2, 1, 8, 1, activation=jnp.tanh, key=getkey())
    inputs = jr.normal(getkey(), (64, 2))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    targets = jnp.sin(3 * inputs[:, :1])

    def loss(params):
        return jnp.mean((jax.vmap(eqx.combine(params, static))(inputs) - targets) ** 2)

    metric = sn.KroneckerMetric(matern)
    transform = optax.chain(
        sn.kronecker(metric), optax.trace(0.9), optax.scale_by_learning_rate(0.1)
    )

    def step(carry, _):
        params, state = carry
        model = eqx.combine(params, static)
        updates, state = transform.update(
            jax.grad(loss)(params), state, params, model=model, inputs=inputs
        )
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train(params):
        return jax.lax.scan(step, (params, transform.init(params)), length=300)[0][0]

    assert loss(train(params)) < 0.1 * loss(params)


def test_leaves_that_do_not_move_are_left_alone(getkey):
    model = eqx.nn.MLP(2, 1, 3, 2, key=getkey())
    moves = jax.tree.map(eqx.is_inexact_array, model)
    still = lambda m: (m.layers[0].weight, m.layers[0].bias, m.layers[1].bias)
    moves = eqx.tree_at(still, moves, (False, False, False))
    params, static = eqx.partition(model, moves)
    inputs = make_inputs(getkey(), 2)
    gradient = jax.grad(
        lambda p: jnp.mean(jax.vmap(eqx.combine(p, static))(inputs) ** 2)
    )(params)
    transform = sn.kronecker(measure_every=1, refresh_every=1)
    state = transform.init(params)
    update = jax.jit(lambda g, s: transform.update(g, s, model=model, inputs=inputs))
    step, state = update(gradient, state)
    assert jax.tree.structure(step) == jax.tree.structure(params)
    assert [a.shape[1] for a, _ in state.averages.values()] == [3, 4]


def test_float32_stays_float32(getkey):
    model = eqx.nn.MLP(2, 1, 3, 1, key=getkey(), dtype=jnp.float32)
    inputs = jr.normal(getkey(), (5, 2), jnp.float32)
    inputs = inputs.at[1].set(inputs[0])  # equal inputs, which the nugget tells apart
    transform = sn.kronecker(sn.KroneckerMetric(matern), 0.1)
    state = transform.init(eqx.filter(model, eqx.is_inexact_array))
    update = jax.jit(lambda g, s: transform.update(g, s, model=model, inputs=inputs))
    step, state = update(gradient_of(model, inputs), state)
    leaves = jax.tree.leaves(step) + jax.tree.leaves(state[0].averages)
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32")}
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in leaves)


def test_what_cannot_work_is_said(getkey):
    model = eqx.nn.Linear(2, 1, key=getkey())
    params = eqx.filter(model, eqx.is_inexact_array)
    transform = sn.kronecker()
    with pytest.raises(ValueError, match="model=model, inputs=inputs"):
        transform.update(params, transform.init(params), params)
    with pytest.raises(ValueError, match="found no layer in the parameters"):
        transform.init(jfu.ravel_pytree(params)[0])
    with pytest.raises(ValueError, match="multiple of `measure_every`"):
        sn.kronecker(measure_every=3)
    with pytest.raises(ValueError, match="at least 1"):
        sn.kronecker(probes=0)
    with pytest.raises(ValueError, match="positive damping"):
        sn.kronecker(damping=0.0)
