"""Steps for more rows and parameters than a Jacobian has room for, against dense ones."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import pytest

import sobng as sn
from sobng.calculus import matrices_of, outer_products
from sobng.linalg import outer
from sobng.linalg.factorisation import LinearMap, QuadraticForm
from sobng.linalg.outer import row_gram, row_products
from sobng.linalg.spectrum import least_squares_spectrum
from sobng.solvers.route import costs, route


class Odd(eqx.Module):
    """A matrix that is used as it should not, one in two ways, one by its transpose."""

    norm: jax.Array
    shared: jax.Array
    turned: jax.Array
    slope: jax.Array

    def __call__(self, x):
        y = jnp.tanh(self.shared @ x)
        y = self.shared @ jax.nn.gelu(x + y) + jax.nn.relu(y @ self.turned)
        return self.slope @ jnp.sin(y) / (1 + jnp.sum(self.norm**2))


def odd(key):
    keys = jr.split(key, 4)
    square = [jr.normal(k, (3, 3)) for k in keys[:3]]
    return Odd(*square, jr.normal(keys[3], (3,)))


def residual(u, x):
    bent = sn.laplacian(u)(x) + u(x) ** 2 * sn.gradient(u)(x)[0]
    return jnp.stack([bent, sn.hessian(u)(x)[0, 1] - u(2 * x)])


def value(u, x):
    return u(x)[None]


def rows_of(function, model, points):
    """Outer products, and the Jacobian that they stand for."""
    flat, unravel = jfu.ravel_pytree(model)

    @jax.jit
    def both(points):
        factors = jax.vmap(lambda x: outer_products(lambda u: function(u, x), model))(
            points
        )
        dense = jax.vmap(jax.jacrev(lambda p, x: function(unravel(p), x)), (None, 0))
        return factors, dense(flat, points)

    factors, dense = both(points)
    merged = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), factors)
    return merged, dense.reshape(-1, flat.size)


def close(found, wanted):
    # Rounding of sums with as many terms as parameters, and room to spare.
    return jnp.allclose(found, wanted, rtol=0, atol=1e-13 * jnp.max(jnp.abs(wanted)))


def mlp(key):
    return sn.MLP(3, width=6, depth=2, activation=jax.nn.gelu, key=key)


@pytest.mark.slow
@pytest.mark.parametrize("make", [mlp, odd])
def test_products_of_rows_need_no_rows(getkey, monkeypatch, make):
    # Two rows at a time.
    monkeypatch.setattr(outer, "ENTRIES", 100)
    monkeypatch.setattr(outer, "TILE", 8)
    model = make(getkey())
    inside, dense = rows_of(residual, model, jr.normal(getkey(), (5, 3)))
    around, dense_around = rows_of(value, model, jr.normal(getkey(), (13, 3)))
    assert close(row_gram(inside), dense @ dense.T)
    assert close(row_gram(around), dense_around @ dense_around.T)
    assert close(row_products(inside, around), dense @ dense_around.T)
    for i in range(len(inside.left)):
        pair = inside.left[i], inside.right[i], around.left[i], around.right[i]
        assert close(outer._by_rows(*pair), outer._by_pairs(*pair))


def test_a_matrix_that_is_used_otherwise_is_left_as_it_is(getkey):
    model = odd(getkey())
    found = matrices_of(lambda u: value(u, jnp.ones(3)), model)
    names = [f.name for f in Odd.__dataclass_fields__.values()]
    assert {names[i] for i in found} == {"shared", "turned"}


def system(getkey, norm=None):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    source = lambda u, x, args: sn.laplacian(u)(x) + args * jnp.sin(x[0])
    problem = sn.Problem(
        sn.Condition(source, square.interior, norm=norm, name="poisson"),
        sn.Dirichlet(square.boundary, lambda x: x[1], exact=False, name="wall"),
    )
    field = sn.MLP(2, width=9, depth=2, key=getkey())
    return sn.System(problem, field, sn.discretise(problem, 25, key=getkey()))


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, sn.SobolevNorm(-1)])
def test_the_gram_matrix_of_a_system_is_that_of_its_jacobian(getkey, norm):
    tiny = system(getkey, norm)
    jacobian = tiny.jacobian(tiny.params, 2.0)
    assert close(tiny.gram(tiny.params, 2.0), jacobian @ jacobian.T)


def test_a_large_field_has_the_same_residual_and_slope(getkey, monkeypatch):
    tiny = system(getkey)

    def both():
        loss = lambda params: tiny.loss(params, 1.0)
        return jax.value_and_grad(loss)(tiny.params)

    wanted = both()
    monkeypatch.setattr("sobng.system.LARGE", 1)
    monkeypatch.setattr("sobng.system.LEAN", 4)
    for one, other in zip(
        jax.tree.leaves(both()), jax.tree.leaves(wanted), strict=True
    ):
        assert jnp.allclose(one, other, rtol=1e-11)


def test_steps_by_every_route_are_the_dense_step(getkey):
    tiny = system(getkey)
    fn = lambda params, args: (tiny.residual(params, args), None)

    def step(factorisation):
        solver = sn.GaussNewton(factorisation=factorisation, geodesic=True)
        solver = solver.on(tiny)
        args, tags = 1.0, frozenset()
        shapes = jax.eval_shape(fn, tiny.params, args)
        state = solver.init(fn, tiny.params, args, {}, *shapes, tags)
        y, _, _ = jax.jit(lambda s: solver.step(fn, tiny.params, args, {}, s, tags))(
            state
        )
        return jfu.ravel_pytree(y)[0] - jfu.ravel_pytree(tiny.params)[0]

    wanted = step(sn.Dense())
    rows = tiny.rows(1.0)
    assert rows < tiny.num_params
    for other in (sn.Dual(), sn.Krylov(num=rows), sn.Nystrom(rows)):
        # The Gram matrix squares a condition number of 1e4.
        assert jnp.linalg.norm(step(other) - wanted) < 1e-6 * jnp.linalg.norm(wanted)


def test_columns_are_multiplied_by_a_jacobian_in_pieces(getkey, monkeypatch):
    tiny = system(getkey)
    _, jacobian = tiny.linearised(tiny.params, 1.0)
    right, left = (jr.normal(getkey(), (size, 3)) for size in jacobian.shape[::-1])
    for piece in (2**24, 5 * tiny.num_params, 1):
        monkeypatch.setattr("sobng.system.PIECE", piece)
        found = tiny.products(tiny.params, right, 1.0)
        assert jnp.allclose(found, jacobian @ right, rtol=1e-12)
        found = tiny.transposed_products(tiny.params, left, 1.0)
        assert jnp.allclose(found, jacobian.T @ left, rtol=1e-12)


@pytest.mark.parametrize("shape", [(60, 90), (90, 60)], ids=["wide", "tall"])
def test_one_sketch_serves_every_damping(getkey, shape):
    # Singular values from 1 to 1e-9, of which the sketch sees those above 1e-4.
    left, _ = jnp.linalg.qr(jr.normal(getkey(), (shape[0], 60)))
    right, _ = jnp.linalg.qr(jr.normal(getkey(), (shape[1], 60)))
    jacobian = (left * jnp.logspace(0, -9, 60)[None]) @ right.T
    residual = jr.normal(getkey(), shape[:1])
    linear = LinearMap(
        shape[1],
        lambda: jacobian,
        lambda r: (jacobian.T @ jacobian, jacobian.T @ r),
        lambda v: jacobian @ v,
        lambda r: jacobian.T @ r,
        lambda: jacobian @ jacobian.T,
    )
    model = sn.Nystrom(30).least_squares(linear, residual, None, 0.1)
    wanted = least_squares_spectrum(jacobian, residual)
    step_of = jax.jit(lambda d: model.step(d))
    correction_of = jax.jit(lambda d: model.correction(jacobian.T @ residual, d))
    for damping in (1e-1, 1e-4, 1e-7, 1e-10):
        step = wanted.step(damping)
        found = step_of(damping)
        assert jnp.linalg.norm(found - step) < 1e-7 * jnp.linalg.norm(step)
        # The least value within a part of the space is not below that of all of it.
        gain = lambda m, d=damping: m.decrease(d) - 0.5 * d * m.length(d) ** 2
        assert gain(model) <= gain(wanted) * (1 + 1e-9)
        step = wanted.correction(jacobian.T @ residual, damping)
        found = correction_of(damping)
        assert jnp.linalg.norm(found - step) < 1e-4 * jnp.linalg.norm(step)
    for damping in (1e-1, 1e-4):
        assert jnp.allclose(model.length(damping), wanted.length(damping), rtol=1e-2)
        assert jnp.allclose(
            model.decrease(damping), wanted.decrease(damping), rtol=1e-2
        )
    assert model.explained() <= wanted.explained()


def test_a_sketch_of_no_directions_and_a_metric_are_refused(getkey):
    with pytest.raises(ValueError, match="at least one direction"):
        sn.Nystrom(0)
    form = QuadraticForm(lambda: jnp.eye(2), lambda v: v)
    with pytest.raises(ValueError, match=r"Use `sobng.Krylov\(\)` with a metric"):
        sn.Nystrom().least_squares(None, jnp.ones(2), form, 0.1)


def test_the_route_is_the_cheapest_that_fits_in_memory(getkey):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    problem = sn.Problem(sn.Dirichlet(square.boundary, 1.0, exact=False, name="wall"))
    wide = sn.MLP(2, width=(3000, 3000), key=getkey())
    many = {"wall": sn.Uniform(300)}
    points = sn.discretise(problem, sampler=many, key=getkey())
    large = sn.System(problem, wide, points)
    taken = {type(which): cost.bytes for which, cost in costs(large)}
    # By layers, rows of nine million parameters are six thousand numbers each.
    assert taken[sn.Dual] < taken[sn.Krylov] and taken[sn.Dual] < taken[sn.Dense]
    assert taken[sn.Dual] < taken[sn.Nystrom]
    which = lambda memory, euclidean=True: type(route(large, euclidean, None, memory))
    assert which(1e12) == which(taken[sn.Dual]) == sn.Dual
    assert which(1e12, euclidean=False) == sn.Dense
    assert which(taken[sn.Krylov], euclidean=False) == sn.Krylov
    with pytest.raises(ValueError, match="does not fit into 1.0e"):
        which(1e3)


def test_small_systems_are_dense(getkey):
    tiny = system(getkey)
    assert isinstance(route(tiny, True, 1.0, None), sn.Dense)
    assert isinstance(route(None, True, 1.0, None), sn.Dense)
    with pytest.raises(ValueError, match="positive number of bytes"):
        sn.GaussNewton(memory=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No condition covers")
def test_points_are_drawn_anew_and_a_killed_run_draws_the_same(tmp_path):
    interval = sn.Interval(0.0, 1.0)
    fit = sn.Condition(lambda u, x, args: u(x) - x[0], interval.interior, name="fit")
    field = sn.MLP(1, width=3, key=jr.key(0))

    def run(max_steps, fresh=1, **keywords):
        return sn.solve(
            sn.Problem(fit),
            field,
            key=jr.key(1),
            stages=(sn.AllParameters(fresh=fresh),),
            collocation=sn.Uniform(4),
            max_steps=max_steps,
            **keywords,
        )

    whole = run(6)
    checkpoint = sn.Checkpoint(tmp_path / "run", every=1)
    run(3, checkpoint=checkpoint)
    resumed = run(6, checkpoint=checkpoint)
    flat = lambda found: jfu.ravel_pytree(sn.partition(found.field)[0])[0]
    assert jnp.array_equal(flat(whole), flat(resumed))
    assert not jnp.array_equal(flat(whole), flat(run(6, fresh=None)))


def test_points_that_are_never_drawn_are_refused():
    with pytest.raises(ValueError, match="number of steps"):
        sn.AllParameters(fresh=0)


def test_hidden_layers_may_differ_in_width(getkey):
    field = sn.MLP(2, width=(5, 3), key=getkey())
    assert [w.shape for w in field.weights] == [(5, 2), (3, 5), (1, 3)]
    for width in ((), (4, 0)):
        with pytest.raises(ValueError, match="positive integer `width`"):
            sn.MLP(2, width=width, key=getkey())
