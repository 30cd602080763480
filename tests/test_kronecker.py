"""Kronecker factors against dense Jacobians and sums over pairs of samples."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
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


def test_a_sobolev_kernel_of_images_takes_the_median_distance(getkey):
    model = eqx.nn.Linear(784, 2, key=getkey())
    inputs = make_inputs(getkey(), 784)
    found = rows_of(model, inputs, sn.SobolevKernel(393.5))[""].grams()
    distances = jnp.linalg.norm(inputs[:, None] - inputs[None], axis=2)
    median = jnp.median(distances[jnp.triu_indices(BATCH, 1)])
    scaled = lambda x, y: matern(x / median, y / median)
    exact = rows_of(model, inputs, scaled)[""].grams()
    assert close(found, exact, rtol=1e-6, atol=1e-9)


def test_a_kernel_narrower_than_all_distances_changes_nothing(getkey):
    model = sn.MLP(3, width=4, key=getkey())
    inputs = make_inputs(getkey(), 3)
    narrow = lambda x, y: 7.0 * matern(100 * x, 100 * y)
    found, plain = (
        {name: rows.grams() for name, rows in rows_of(model, inputs, kernel).items()}
        for kernel in (narrow, None)
    )
    assert close(found, plain, rtol=1e-10, atol=1e-12)


class Pixels(eqx.Module):
    """A model of the bytes of an image."""

    layer: eqx.nn.Linear

    def __call__(self, x):
        return self.layer(x.astype(float) / 255)


@pytest.mark.parametrize("kernel", [None, matern])
def test_bytes_have_the_factors_of_the_same_numbers(getkey, kernel):
    model = Pixels(eqx.nn.Linear(3, 2, key=getkey()))
    numbers = jr.randint(getkey(), (BATCH, 3), 0, 256)
    found = rows_of(model, numbers.astype(jnp.uint8), kernel)
    wanted = rows_of(model, numbers.astype(float), kernel)
    assert close(found, wanted, rtol=1e-14)
    assert jnp.all(jnp.diagonal(found[".layer"].grams()[0][0]) > 0)


def test_the_categorical_output_has_the_fisher_information(getkey):
    y = jr.normal(getkey(), (4,))
    root = jax.vmap(lambda v: sn.categorical(y, v))(jnp.eye(4))
    p = jax.nn.softmax(y)
    assert jnp.allclose(root.T @ root, jnp.diag(p) - jnp.outer(p, p), atol=1e-15)


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
    inputs = make_inputs(getkey(), 2)
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
