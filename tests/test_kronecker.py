"""Kronecker factors against dense Jacobians and sums over pairs of samples."""

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


BATCH = 6


def matern(x, y):
    r = jnp.sqrt(jnp.sum((x - y) ** 2) + 1e-12)
    return (1 + r) * jnp.exp(-r)


class Convolutional(eqx.Module):
    """Two convolutions with all their options, a normalisation and a dense layer."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear

    def __init__(self, key):
        a, b, c = jr.split(key, 3)
        options = {"stride": 2, "padding": 1, "padding_mode": "REFLECT"}
        self.first = eqx.nn.Conv2d(2, 4, 3, key=a, **options)
        self.second = eqx.nn.Conv2d(
            4, 6, (2, 1), groups=2, dilation=2, use_bias=False, padding="SAME", key=b
        )
        self.norm = eqx.nn.LayerNorm(6 * 9)
        self.last = eqx.nn.Linear(6 * 9, 3, key=c)

    @eqx.filter_jit
    def __call__(self, x):
        x = jnp.tanh(self.second(jnp.tanh(self.first(x))))
        return self.last(self.norm(jnp.ravel(x)))


def close(one, two, **tolerances):
    equal = jax.tree.map(lambda a, b: jnp.allclose(a, b, **tolerances), one, two)
    return all(jax.tree.leaves(equal))


def units(y):
    return jnp.eye(y.size, dtype=y.dtype)


@eqx.filter_jit
def rows_of(model, inputs, kernel=None, probes=units):
    metric = sn.KroneckerMetric(kernel)
    return metric.rows(model, find_layers(model), inputs, probes)


def weights_of(inputs):
    """The inverse of the kernel matrix, by brute force."""
    flat = inputs.reshape(len(inputs), -1)
    return jnp.linalg.inv(
        jax.vmap(lambda x: jax.vmap(lambda y: matern(x, y))(flat))(flat)
    )


@eqx.filter_jit
def jacobians_of(model, x):
    """The derivative of the outputs in the matrices of each layer, `[out, s, o, i]`."""
    dynamic, static = eqx.partition(model, eqx.is_inexact_array)
    value = lambda p: jnp.ravel(eqx.combine(p, static)(x))
    layers = jax.vmap(lambda d: find_layers(d))(jax.jacrev(value)(dynamic))
    return {name: jax.vmap(lambda d: d.matrix())(d) for name, d in layers.items()}


def make_inputs(key, *shape):
    return jr.normal(key, (BATCH, *shape))


MODELS = {
    "conv2d": (Convolutional, (2, 6, 6)),
    "conv3d": (lambda key: eqx.nn.Conv3d(1, 2, 2, padding=1, key=key), (1, 3, 2, 2)),
    "scalar": (lambda key: eqx.nn.MLP("scalar", "scalar", 4, 1, key=key), ()),
    "MLP": (lambda key: sn.MLP(2, width=4, depth=2, key=key), (2,)),
}


@pytest.mark.parametrize(("make", "shape"), MODELS.values(), ids=MODELS)
def test_the_rows_of_a_layer_multiply_to_its_jacobian(getkey, make, shape):
    model = make(getkey())
    x = jr.normal(getkey(), shape)
    exact = jacobians_of(model, x)
    for name, rows in rows_of(model, x[None]).items():
        groups, positions, _ = rows.inputs.shape
        g = rows.outputs.reshape(groups, -1, positions, rows.outputs.shape[-1])
        product = jnp.einsum("sqto,sti->qsoi", g, rows.inputs * positions**0.5)
        assert jnp.allclose(product, exact[name], rtol=1e-11, atol=1e-12), name


def test_all_layers_that_are_known_are_found(getkey):
    assert set(find_layers(Convolutional(getkey()))) == {".first", ".second", ".last"}


@pytest.mark.parametrize("kernel", [None, matern])
def test_a_model_of_one_layer_has_its_exact_gram_matrix(getkey, kernel):
    model = eqx.nn.Linear(3, 2, key=getkey())
    inputs = make_inputs(getkey(), 3)
    a, g = rows_of(model, inputs, kernel)[""].grams()
    found = jnp.kron(g[0], a[0])
    jacobian = jax.vmap(lambda x: jacobians_of(model, x)[""])(inputs)
    jacobian = jacobian.reshape(BATCH, 2, -1)
    weights = jnp.eye(BATCH) if kernel is None else weights_of(inputs)
    exact = jnp.einsum("bc,bqi,cqj->ij", weights, jacobian, jacobian)
    # The traces are those of the mean over the batch, also with a kernel.
    exact = exact * (jnp.sum(jacobian**2) / BATCH / jnp.trace(exact))
    # The nugget of 1.5e-8.
    assert jnp.allclose(found, exact, rtol=1e-6, atol=1e-7)


def test_factors_are_sums_over_pairs_of_samples(getkey):
    conv = eqx.nn.Conv1d(2, 4, 3, groups=2, key=getkey())
    dense = eqx.nn.Linear(12, 2, key=getkey())
    parts = [conv, eqx.nn.Lambda(jnp.tanh), eqx.nn.Lambda(jnp.ravel), dense]
    model = eqx.nn.Sequential(parts)
    inputs = make_inputs(getkey(), 2, 5)
    each = jax.jit(jax.vmap(lambda x: rows_of(model, x[None])))(inputs)
    weights = weights_of(inputs)
    for name, rows in rows_of(model, inputs, matern).items():
        single = each[name].inputs, each[name].outputs  # [batch, s, positions, ...]
        for found, one in zip(rows.grams(), single, strict=True):
            exact = jnp.einsum("bc,bsti,cstj->sij", weights, one, one)
            # The trace is that of the mean over the batch.
            trace = jnp.sum(jnp.trace(exact, axis1=1, axis2=2))
            exact = exact * (jnp.sum(one**2) / BATCH / trace)
            assert jnp.allclose(found, exact, rtol=1e-6, atol=1e-7)
            size = jnp.sum(jnp.trace(found, axis1=1, axis2=2))
            assert jnp.all(jnp.linalg.eigvalsh(found) > -1e-14 * size)


def test_a_shared_probe_sees_pairs_of_samples_and_independent_ones_do_not(getkey):
    model = eqx.nn.MLP(2, 4, 3, 1, activation=jnp.tanh, key=getkey())
    inputs = 0.3 * make_inputs(getkey(), 2)
    weights = weights_of(inputs)
    # The derivatives of the outputs in the first layer's, [batch, out, 3].
    each = jax.vmap(lambda x: rows_of(model, x[None]))(inputs)
    g = each[".layers[0]"].outputs[:, 0]
    exact = jnp.einsum("bc,bqi,cqj->ij", weights, g, g)
    diagonal = jnp.einsum("b,bqi,bqj->ij", jnp.diag(weights), g, g)
    num = 10_000

    def drawn(*shape):
        v = jr.rademacher(getkey(), (num, *shape), g.dtype)
        pulled = jnp.einsum("nbq,bqi->nbi", jnp.broadcast_to(v, (num, BATCH, 4)), g)
        return jnp.einsum("bc,nbi,ncj->ij", weights, pulled, pulled) / num

    def away(found, other):
        return jnp.linalg.norm(found - other) / jnp.linalg.norm(other)

    # The spread of a mean of so many is about a hundredth.
    assert away(drawn(1, 4), exact) < 0.03
    assert away(drawn(BATCH, 4), diagonal) < 0.03
    assert away(diagonal, exact) > 1
    # And the factors are made with shared ones.
    v = jr.rademacher(getkey(), (num, 4), g.dtype) / num**0.5
    rows = rows_of(model, inputs, matern, lambda y: v)[".layers[0]"]
    _, gram = rows.grams()
    scaled = exact * jnp.trace(gram[0]) / jnp.trace(exact)
    assert away(gram[0], scaled) < 0.03


def test_a_kernel_narrower_than_all_distances_changes_nothing(getkey):
    model = sn.MLP(3, width=4, key=getkey())
    inputs = make_inputs(getkey(), 3)
    narrow = lambda x, y: 7.0 * matern(100 * x, 100 * y)
    found, plain = (
        {name: rows.grams() for name, rows in rows_of(model, inputs, kernel).items()}
        for kernel in (narrow, None)
    )
    assert close(found, plain, rtol=1e-10, atol=1e-12)


def test_the_categorical_output_has_the_fisher_information(getkey):
    y = jr.normal(getkey(), (4,))
    root = jax.vmap(lambda v: sn.categorical(y, v))(jnp.eye(4))
    p = jax.nn.softmax(y)
    assert jnp.allclose(root.T @ root, jnp.diag(p) - jnp.outer(p, p), atol=1e-15)


@eqx.filter_jit
def gradient_of(model, inputs):
    loss = lambda m: jnp.mean(jax.vmap(m)(inputs) ** 2)
    return eqx.filter_grad(loss)(model)


def test_the_first_step_is_the_dense_solve_of_each_layer(getkey):
    model = Convolutional(getkey())
    inputs = make_inputs(getkey(), 2, 6, 6)
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
    assert jnp.allclose(step.norm.weight, gradient.norm.weight / 1.1, rtol=1e-14)


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
        one, two = (rows_of(model, batch)[name].grams() for batch in batches[:2])
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


class Uses(eqx.Module):
    """A dense layer, and what is done with it."""

    layer: eqx.nn.Linear
    use: str = eqx.field(static=True)

    def __call__(self, x):
        if self.use == "twice":
            return self.layer(self.layer(x[0]))
        if self.use == "mapped":
            return jnp.sum(jax.vmap(self.layer)(x), axis=0)
        if self.use == "scanned":
            return jax.lax.scan(lambda c, y: (self.layer(c + y), None), x[0], x)[0]
        return x[0]


@pytest.mark.parametrize(
    ("use", "times"), [("twice", 2), ("mapped", 4), ("scanned", 4), ("never", 0)]
)
def test_a_layer_that_is_not_used_once_is_named(getkey, use, times):
    model = Uses(eqx.nn.Linear(3, 3, key=getkey()), use)
    with pytest.raises(ValueError, match=rf"`model.layer` is used {times} times"):
        rows_of(model, jnp.zeros((BATCH, 4, 3)))


def test_what_cannot_work_is_said(getkey):
    model = eqx.nn.Linear(2, 1, key=getkey())
    params = eqx.filter(model, eqx.is_inexact_array)
    inputs = make_inputs(getkey(), 2)
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
    with pytest.raises(ValueError, match="kernel of two points"):
        sn.KroneckerMetric(2.5)
    with pytest.raises(ValueError, match="at least 0"):
        sn.KroneckerMetric(nugget=-1)
    with pytest.raises(ValueError, match="returns one array"):
        rows_of(Pair(model), inputs)
    with pytest.raises(Exception, match="not positive definite"):
        rows_of(model, inputs, lambda x, y: 1 - 5 * jnp.sum((x - y) ** 2))


class Pair(eqx.Module):
    layer: eqx.nn.Linear

    def __call__(self, x):
        return self.layer(x), x


INTERVAL = sn.Interval(0.0, 1.0)
PROBLEM = sn.Problem(
    sn.Condition(lambda u, x, args: u["u"](x) - x[0], INTERVAL.interior, name="values")
)


def make_system(key, num=20):
    """A linear function, and a coefficient that the residual does not know."""
    unknown = {"u": sn.MLP(1, width=3, key=key), "k": jnp.ones(2)}
    return sn.System(PROBLEM, unknown, sn.discretise(PROBLEM, num, key=key))


@eqx.filter_jit
def gram_of(metric, system, entry=None):
    factor = metric.on(system, entry).factor(system.params)
    return factor.T @ factor


def test_on_a_system_the_last_layer_has_the_metric_of_its_features(getkey):
    system = make_system(getkey())
    exact = gram_of(sn.SobolevMetric(0), system)
    found = gram_of(sn.KroneckerMetric(), system)
    field = system.params["u"]
    index = jfu.ravel_pytree(system.params)[1](jnp.arange(float(len(found))))
    last = jnp.concatenate([jnp.ravel(index["u"].weights[-1]), index["u"].biases[-1]])
    last = last.astype(int)
    block = jnp.ix_(last, last)
    assert field.weights[-1].shape == (1, 3)
    assert jnp.allclose(found[block], exact[block], rtol=1e-11)
    other = index["k"].astype(int)
    assert jnp.array_equal(found[jnp.ix_(other, other)], jnp.eye(2))


def test_an_entry_is_measured_alone(getkey):
    system = make_system(getkey())
    whole = gram_of(sn.KroneckerMetric(matern), system)
    product = sn.ProductMetric({"u": sn.KroneckerMetric(matern)})
    index = jfu.ravel_pytree(system.params)[1](jnp.arange(float(len(whole))))
    other = index["k"].astype(int)
    rest = whole.at[other, other].set(0)
    assert jnp.allclose(gram_of(product, system), rest, rtol=1e-11, atol=1e-13)
    with pytest.raises(ValueError, match="found no layer that moves"):
        sn.KroneckerMetric().on(system, "k")
