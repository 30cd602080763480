"""Residuals, Jacobians and metrics against explicit sums and invariances."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import pytest

import sobng as sn


SQUARE = sn.Box((0.0, 0.0), (1.0, 2.0))


def heat(u, x, args):
    return sn.laplacian(u)(x) - u(x) ** 2 + 1.0


PROBLEM = sn.Problem(
    sn.Condition(heat, SQUARE.interior, name="heat", weight=2.0),
    sn.Dirichlet(SQUARE.part("left"), 1.0, exact=False, name="left"),
    sn.Robin(SQUARE.part("top", "right", "bottom"), 1.0, 2.0, 0.5, name="rest"),
)


def make_system(key, chunk=None, num=90):
    field = sn.MLP(2, width=5, depth=2, key=key, domain=SQUARE)
    points = sn.discretise(PROBLEM, num, key=key)
    return sn.System(PROBLEM, field, points, chunk=chunk)


def test_the_loss_is_half_the_sum_of_weighted_integrals(getkey):
    system = make_system(getkey())
    u = system.unknown(system.params)
    total = 0.0
    for condition in PROBLEM.conditions:
        points = system.collocation.points[condition.name]
        weights = system.collocation.weights[condition.name]
        assert jnp.allclose(jnp.sum(weights), condition.region.measure)
        residual = eqx.filter_jit(lambda x, c=condition: c.residual(u, x, None))
        for x, w in zip(points, weights, strict=True):
            total += 0.5 * condition.weight * w * residual(x) ** 2
    loss = eqx.filter_jit(system.loss)(system.params)
    assert jnp.allclose(loss, total, rtol=1e-12)


@pytest.mark.parametrize("chunk", [None, 7])
def test_the_rows_of_the_jacobian_are_those_of_the_stacked_residual(getkey, chunk):
    system = make_system(getkey(), chunk)
    flat, unravel = jfu.ravel_pytree(system.params)
    dense = jax.jit(jax.jacfwd(lambda f: system.residual(unravel(f))))(flat)
    rows = eqx.filter_jit(system.jacobian)(system.params)
    assert jnp.allclose(rows, dense, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("block", [7, 2048])
def test_normal_equations_are_those_of_the_jacobian(getkey, block, monkeypatch):
    # Blocks that the points do not fill end in points of weight zero.
    monkeypatch.setattr("sobng.chunks.BLOCK", block)
    system = make_system(getkey())
    square, gradient = eqx.filter_jit(system.normal)(system.params)
    jacobian = eqx.filter_jit(system.jacobian)(system.params)
    wanted = jnp.tril(jacobian.T @ jacobian)
    assert jnp.allclose(jnp.tril(square), wanted, rtol=1e-10, atol=1e-11)
    wanted = jacobian.T @ system.residual(system.params)
    assert jnp.allclose(gradient, wanted, rtol=1e-10, atol=1e-11)


def test_only_the_leaves_that_move_are_parameters(getkey):
    field = sn.MLP(2, width=5, key=getkey(), domain=SQUARE)
    points = sn.discretise(PROBLEM, 20, key=getkey())
    system = sn.System(PROBLEM, field, points, moves=sn.linear_leaves(field))
    assert system.num_params == 6


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_sobolev_factor_gives_the_explicit_gram_matrix(getkey, order):
    system = make_system(getkey(), num=30)
    flat, unravel = jfu.ravel_pytree(system.params)
    metric = sn.SobolevMetric(order=order).on(system)
    factor = eqx.filter_jit(metric.factor)(system.params)
    points = system.collocation.points["heat"]
    weights = system.collocation.weights["heat"]

    def value(f, x):
        return system.unknown(unravel(f))(x)

    tangent = lambda x: jax.jacrev(value)(flat, x)
    # |v|_s^2 with the symbol (1 + |xi|^2)^s: 1; v, Dv; v, 2 Dv, D^2 v.
    parts = [(1, tangent), (order, jax.jacfwd(tangent))]
    if order == 2:
        parts.append((1, jax.jacfwd(jax.jacfwd(tangent))))
    gram = 0.0
    for c, part in parts:
        rows = jax.jit(jax.vmap(part))(points).reshape(len(points), flat.size, -1)
        gram += c * jnp.einsum("n,npk,nqk->pq", weights, rows, rows)
    assert jnp.allclose(factor.T @ factor, gram, rtol=1e-9, atol=1e-10)


def test_the_energy_metric_of_a_residual_is_gauss_newton(getkey):
    system = make_system(getkey())
    factor = eqx.filter_jit(sn.EnergyMetric().on(system).factor)(system.params)
    jacobian = eqx.filter_jit(system.jacobian)(system.params)
    assert jnp.allclose(factor, jacobian, rtol=1e-13, atol=1e-13)


def test_the_energy_metric_of_a_quadratic_energy_is_its_hessian(getkey):
    interval = sn.Interval(0.0, 1.0)

    def density(u, x, args):
        return 0.5 * sn.gradient(u)(x)[0] ** 2 + u(x) ** 2 - u(x)

    energy = sn.Energy(density, interval)
    field = sn.MLP(1, width=4, key=getkey())
    points = sn.discretise(energy, 30, key=getkey())
    # In the last layer alone the field is linear, so the Hessian has no other part.
    system = sn.System(energy, field, points, moves=sn.linear_leaves(field))
    flat, unravel = jfu.ravel_pytree(system.params)
    factor = eqx.filter_jit(sn.EnergyMetric().on(system).factor)(system.params)
    hessian = jax.jit(jax.hessian(lambda f: system.loss(unravel(f))))(flat)
    # The factor is a square root of the Gram matrix: half of the digits at zero.
    assert jnp.allclose(factor.T @ factor, hessian, rtol=1e-7, atol=1e-9)


class Reparametrised(eqx.Module):
    """A field whose parameters are seen through an invertible linear map."""

    field: sn.MLP
    hidden: jax.Array
    mixing: sn.Frozen

    def __call__(self, x):
        _, unravel = jfu.ravel_pytree(sn.partition(self.field.value)[0])
        params = unravel(self.mixing.value @ self.hidden)
        return sn.combine(params, sn.partition(self.field.value)[1])(x)


@pytest.mark.slow
def test_the_undamped_motion_does_not_see_the_parametrisation(getkey):
    from sobng.linalg.spectrum import least_squares_spectrum

    field = sn.MLP(2, width=2, key=getkey(), domain=SQUARE)
    points = sn.discretise(PROBLEM, 60, key=getkey())
    plain = sn.System(PROBLEM, field, points)
    flat, _ = jfu.ravel_pytree(plain.params)
    mixing = jnp.eye(flat.size) + 0.3 * jr.normal(getkey(), (flat.size, flat.size))
    hidden = jnp.linalg.solve(mixing, flat)
    other = Reparametrised(sn.Frozen(field), hidden, sn.Frozen(mixing))
    mixed = sn.System(PROBLEM, other, points)

    @eqx.filter_jit
    def motion(system):
        jacobian = system.jacobian(system.params)
        residual = system.residual(system.params)
        model = least_squares_spectrum(jacobian, residual)
        return jacobian @ model.step(1e-28)

    one, two = motion(plain), motion(mixed)
    # Condition numbers of 1e3 to 1e5 take as many digits from rounding.
    assert jnp.linalg.norm(one - two) < 1e-8 * jnp.linalg.norm(one)


def test_float32_stays_float32(getkey):
    field = sn.MLP(2, width=4, key=getkey(), domain=SQUARE, dtype=jnp.float32)
    points = sn.discretise(PROBLEM, 20, key=getkey())
    system = sn.System(PROBLEM, field, points)
    both = eqx.filter_jit(system.linearised)(system.params)
    assert [a.dtype for a in both] == 2 * [jnp.float32]
