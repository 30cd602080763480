"""Neural fields: shapes, initial weights, linear leaves, precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sobng import calculus, fields
from sobng.fields.scaled import has_cell
from sobng.geometry import Grading, Stretching


class Square:
    """Stands for a domain."""

    bounds = (np.array([0.0, 2.0]), np.array([1.0, 6.0]))


SQUARE = Square()


def small(key, out=None, dtype=None, domain=SQUARE):
    kwargs = dict(out=out, key=key, dtype=dtype)
    inner = fields.MLP(2, width=5, **kwargs)
    corners = ((0.0, 2.0), (1.0, 6.0))
    return {
        "mlp": fields.MLP(2, width=5, depth=2, domain=domain, **kwargs),
        "siren": fields.SIREN(2, width=5, depth=2, domain=domain, **kwargs),
        "fourier": fields.FourierFeatures(2, num=3, width=5, domain=domain, **kwargs),
        "waves": fields.FourierFeatures(2, num=3, trainable=True, width=5, **kwargs),
        "residual": fields.ResidualNetwork(2, width=5, domain=domain, **kwargs),
        "separable": fields.Separable(2, rank=3, width=5, domain=domain, **kwargs),
        "periodic": fields.PeriodicEmbedding(
            fields.MLP(3, width=5, **kwargs), {1: 4.0}, dtype=dtype
        ),
        "scaled": fields.Scaled(inner, *corners, dtype=dtype),
        "graded": fields.Graded(inner, Grading(*corners, (1e-2, 100.0))),
        "sum": fields.Sum([inner, fields.Frozen(inner), fields.SIREN(2, **kwargs)]),
        "constrained": fields.Constrained(inner, lambda x: x[0], lambda x: x[1]),
    }


NAMES = sorted(small(jr.key(0)))


@pytest.fixture
def point():
    return jnp.array([0.3, 2.7])


@pytest.mark.parametrize("out", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_linear_leaves_are_linear_and_only_those(name, out, getkey, point):
    field = small(getkey(), out)[name]
    params, rest = fields.partition(field)
    marked = fields.linear_leaves(field)
    assert jax.tree.structure(marked) == jax.tree.structure(field)
    linear, others = eqx.partition(params, marked)
    assert jax.tree.leaves(linear)
    assert jax.tree.leaves(others)

    @jax.jit
    def value(linear, others):
        return fields.combine(eqx.combine(linear, others), rest)(point)

    move = lambda tree, s: jax.tree.map(lambda a: a + s * jnp.cos(a), tree)
    # Affine: the second difference vanishes to rounding, however large the step.
    values = [value(move(linear, s), others) for s in (-1.0, 0.0, 1.0)]
    assert jnp.allclose(values[0] - 2 * values[1] + values[2], 0, atol=1e-12)
    bent = [value(linear, move(others, s)) for s in (-0.5, 0.0, 0.5)]
    assert jnp.all(jnp.abs(bent[0] - 2 * bent[1] + bent[2]) > 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_partition_and_combine_make_a_round_trip(name, getkey, point):
    unknown = {"u": small(getkey())[name], "k": jnp.ones(2), "tag": "text", "n": 3}
    params, rest = fields.partition(unknown)
    assert all(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(params))
    assert eqx.tree_equal(fields.combine(params, rest), unknown)
    gradient = jax.grad(lambda p: fields.combine(p, rest)["u"](point))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)


@pytest.mark.parametrize("out", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_values_have_the_promised_shape_and_precision(name, out, getkey):
    field = small(getkey(), out, jnp.float32)[name]
    assert (field.dim, field.out) == (2, out)
    points = jr.uniform(getkey(), (4, 2), jnp.float32)
    values = jax.jit(jax.vmap(field))(points)
    assert values.shape == ((4,) if out is None else (4, out))
    assert values.dtype == jnp.float32
    laplacian = jax.eval_shape(jax.vmap(calculus.laplacian(field)), points)
    assert laplacian.dtype == jnp.float32


def test_a_field_of_float32_stays_one_in_a_cell_of_float64(getkey):
    inner = fields.MLP(2, width=5, dtype=jnp.float32, key=getkey())
    embedded = fields.MLP(3, width=5, dtype=jnp.float32, key=getkey())
    point = jnp.array([0.3, 2.7], jnp.float32)
    for field in (
        fields.Scaled(inner, (0.0, 2.0), (1.0, 6.0)),
        fields.PeriodicEmbedding(embedded, {1: 4.0}, bounds={0: (0.0, 1.0)}),
    ):
        assert field.cell.lower.value.dtype == jnp.float64
        assert field(point).dtype == jnp.float32


@pytest.mark.parametrize("name", NAMES)
def test_bandwidth_one_changes_nothing_and_two_does(name, getkey, point):
    field = small(getkey())[name]
    rescale = jax.jit(lambda s: fields.with_bandwidth(field, s)(point))
    assert jnp.allclose(rescale(1.0), field(point), rtol=1e-12)
    assert jnp.abs(rescale(2.0) - field(point)) > 1e-8


class Exponential(eqx.Module):
    """A module of the user's, positive and linear in nothing."""

    network: fields.MLP

    def __call__(self, x):
        return jnp.exp(self.network(x))


def test_a_network_inside_a_module_of_the_user_is_not_taken_for_linear(getkey):
    own = Exponential(fields.MLP(2, key=getkey()))
    assert not any(jax.tree.leaves(fields.linear_leaves(own)))
    partial = jax.tree_util.Partial(lambda u, x: jnp.exp(u(x)), own.network)
    assert not any(jax.tree.leaves(fields.linear_leaves(partial)))
    marked = fields.linear_leaves({"own": own, "plain": (own.network,)})
    assert not any(jax.tree.leaves(marked["own"]))
    assert marked["plain"][0].weights == (False, True)


def test_the_bandwidth_of_a_module_of_the_user_stays(getkey):
    own = Exponential(fields.MLP(2, key=getkey()))
    assert eqx.tree_equal(fields.with_bandwidth({"u": own}, 2.0), {"u": own})


def test_bandwidth_reaches_fields_in_any_tree(getkey, point):
    unknown = {"u": fields.MLP(2, key=getkey()), "k": jnp.ones(3)}
    twice = fields.with_bandwidth(unknown, 2.0)
    assert jnp.allclose(twice["u"].weights[0], 2 * unknown["u"].weights[0])
    assert jnp.allclose(twice["k"], unknown["k"])


def test_some_features_may_see_two_coordinates_only(getkey):
    field = fields.sine_features(6, num=40, few=15, key=getkey())
    seen = jnp.sum(field.weights[0] != 0, axis=1)
    assert jnp.all(seen[:15] == 2) and jnp.all(seen[15:] == 6)
    assert jnp.all(jnp.linalg.norm(field.weights[0], axis=1) <= 1)
    with pytest.raises(ValueError, match="from 0 to 40"):
        fields.sine_features(6, num=40, few=41, key=getkey())


def test_features_of_an_mlp_are_centred_in_the_unit_cell(getkey):
    field = fields.MLP(1, width=500, bandwidth=4.0, key=getkey())
    centres = -field.biases[0] / field.weights[0][:, 0]
    assert jnp.all(jnp.abs(centres) <= 1 + 1e-12)
    # A uniform and a normal sample of 500: within about four standard errors.
    assert jnp.abs(jnp.mean(centres)) < 0.1
    assert jnp.abs(jnp.std(field.weights[0]) - 4) < 0.5


def test_every_layer_of_a_siren_sees_the_same_distribution(getkey):
    field = fields.SIREN(2, width=256, depth=3, key=getkey())
    x = jr.uniform(getkey(), (2,), minval=-1.0)
    for weight, bias in zip(field.weights[:-1], field.biases[:-1], strict=True):
        x = jnp.sin(weight @ x + bias)
        # The variance of a sine of uniform phase is one half.
        assert jnp.abs(jnp.mean(x**2) - 0.5) < 0.1


def test_a_residual_network_starts_as_a_linear_one(getkey, point):
    field = fields.ResidualNetwork(2, width=16, blocks=3, key=getkey())
    weight, bias = field.embedding
    features = jnp.tanh(weight @ point + bias)
    assert jnp.allclose(field(point), field.readout[0][0] @ features, rtol=1e-12)


def test_a_separable_field_of_rank_one_is_a_product(getkey):
    field = fields.Separable(2, rank=1, width=5, key=getkey())
    a, b, c, d = jr.uniform(getkey(), (4,))
    value = lambda x, y: field(jnp.stack([x, y]))
    # Products f(x) g(y) have mixed differences that factorise.
    assert jnp.allclose(value(a, c) * value(b, d), value(a, d) * value(b, c))


def test_an_embedding_is_periodic_with_its_derivatives(getkey):
    inner = fields.MLP(5, width=8, key=getkey())
    field = fields.PeriodicEmbedding(inner, {1: 2.0, 2: 3.0}, bounds={0: (0.0, 0.5)})
    assert field.dim == 3
    x = jr.uniform(getkey(), (3,))
    operators = (field, calculus.gradient(field), calculus.laplacian(field))
    for u in map(eqx.filter_jit, operators):
        # Rounding of the angle, which grows with the shift.
        assert jnp.allclose(u(x + jnp.array([0.0, -2.0, 6.0])), u(x), rtol=1e-11)
    ends = field.embed(jnp.array([0.0, 0.0, 0.0]))
    assert jnp.allclose(ends, jnp.array([-1.0, 1.0, 1.0, 0.0, 0.0]))


def test_scaling_maps_the_box_to_the_unit_cell(getkey):
    cell = fields.UnitCell((0.0, -2.0), (1.0, 4.0))
    assert jnp.allclose(cell(jnp.array([0.0, 4.0])), jnp.array([-1.0, 1.0]))
    field = fields.MLP(2, key=getkey())
    assert not has_cell(field)
    assert has_cell(fields.Sum([fields.Scaled(field, (0.0, 0.0), (1.0, 1.0))]))


def test_a_foreign_module_fits_wrappers(getkey, point):
    foreign = eqx.nn.MLP(2, "scalar", 4, 1, key=getkey())
    field = fields.Scaled(foreign, (0.0, 2.0), (1.0, 6.0))
    assert (field.dim, field.out) == (2, None)
    assert not any(jax.tree.leaves(fields.linear_leaves(field)))
    assert field(point).shape == ()
    with pytest.raises(ValueError, match="Pass `dim=`"):
        fields.Constrained(foreign, None, lambda x: x[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: fields.MLP(0, key=key), "positive integer `dim`"),
        (lambda key: fields.MLP(2, depth=0, key=key), "`depth`"),
        (lambda key: fields.SIREN(2, out=0, key=key), "`out`"),
        (lambda key: fields.MLP(3, domain=Square(), key=key), "3 coordinates"),
        (lambda key: fields.FourierFeatures(2, num=0, key=key), "`num`"),
        (lambda key: fields.ResidualNetwork(2, blocks=0, key=key), "`blocks`"),
        (lambda key: fields.Separable(2, rank=0, key=key), "`rank`"),
        (lambda key: fields.Sum([]), "at least one field"),
        (
            lambda key: fields.Sum([fields.MLP(2, key=key), fields.MLP(3, key=key)]),
            "same `dim`",
        ),
        (
            lambda key: fields.Scaled(fields.MLP(2, key=key), (0.0,), (1.0,)),
            "2 coordinates",
        ),
        (
            lambda key: fields.Graded(
                fields.MLP(2, key=key), Grading((0.0,), (1.0,), (1e-3,))
            ),
            "2 coordinates, and a grading with 1",
        ),
        (
            lambda key: fields.Stretched(
                fields.MLP(3, key=key),
                Stretching((0.0, 0.0), (1.0, 1.0), np.ones((17, 17))),
            ),
            "3 coordinates, and a stretching with 2",
        ),
        (lambda key: fields.UnitCell((0.0, 1.0), (1.0, 1.0)), "lower < upper"),
        (lambda key: fields.UnitCell((0.0,), (np.inf,)), "finite corners"),
        (
            lambda key: fields.PeriodicEmbedding(fields.MLP(2, key=key), {0: -1.0}),
            "positive periods",
        ),
        (
            lambda key: fields.PeriodicEmbedding(
                fields.MLP(3, key=key), {0: 1.0}, bounds={0: (0.0, 1.0)}
            ),
            "not periodic",
        ),
    ],
)
def test_wrong_sizes_are_refused_with_advice(make, message, getkey):
    with pytest.raises(ValueError) as error:
        make(getkey())
    assert message in str(error.value)
