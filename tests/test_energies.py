"""Energies: curvature and slope against Hessians and gradients, below rounding too."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.random as jr
import pytest

import sobng as sn
from sobng.cli.running import Run
from sobng.metrics.jets import order_of
from sobng.metrics.strong import StrongForm
from sobng.solvers.slope import Slope


INTERVAL = sn.Interval(0.0, 1.0)
SQUARE = sn.Box((0.0, 0.0), (1.0, 2.0))


def mass(u, x, args):
    return jnp.exp(u(x)) + x[0] * u(x)


def area(u, x, args):
    slope = sn.gradient(u)(x)
    return jnp.sqrt(1 + slope @ slope) + u(x) ** 2 * x[0]


def bending(u, x, args):
    return sn.laplacian(u)(x) ** 2 + sn.partial(u, 0)(x) ** 4 - u(x)


def stretching(u, x, args):
    strain = sn.jacobian(u)(x)
    return jnp.sum(strain**2) + jnp.trace(strain) ** 2 - u(x)[0]


def quartic(u, x, args):
    return sn.biharmonic(u)(x) ** 2


def on_the_square(density, key, out=None, **options):
    energy = sn.Energy(density, SQUARE, out=out, **options)
    field = sn.MLP(2, out=out, width=5, key=key, domain=SQUARE, bandwidth=0.3)
    points = sn.discretise(energy, 400, key=key)
    return sn.System(energy, field, points, moves=sn.linear_leaves(field))


def of_vector(system):
    flat, unravel = jfu.ravel_pytree(system.params)
    return flat, lambda f: system.loss(unravel(f))


@eqx.filter_jit
def factor_and_hessian(system):
    flat, loss = of_vector(system)
    gram = sn.EnergyMetric().on(system)
    return gram.factor(system.params), jax.hessian(loss)(flat)


CONVEX = [(mass, None), (area, None), (bending, None), (stretching, 2)]


@pytest.mark.parametrize("density, out", CONVEX)
def test_the_factor_of_an_energy_is_a_root_of_its_hessian(density, out, getkey):
    # In the last layer alone the field is linear, so the Hessian has no other part.
    system = on_the_square(density, getkey(), out)
    factor, hessian = factor_and_hessian(system)
    error = jnp.linalg.norm(factor.T @ factor - hessian)
    # Roots are taken in function space, where little is lost.
    assert error < 1e-11 * jnp.linalg.norm(hessian)


def test_a_density_is_seen_to_have_its_order(getkey):
    u, x = sn.MLP(2, width=3, key=getkey()), jnp.array([0.3, 0.4])
    found = [order_of(d, u, x, None) for d in (mass, area, bending, quartic)]
    assert found == [0, 1, 2, 4]


def test_a_density_of_a_high_order_is_refused(getkey):
    def wild(u, x, args):
        return sn.biharmonic(sn.partial(u, 0))(x) ** 2

    u = sn.MLP(2, width=3, key=getkey())
    with pytest.raises(ValueError, match="Got one of order 5"):
        order_of(wild, u, jnp.array([0.3, 0.4]), None)


class Sines(eqx.Module):
    """The first eigenfunctions of an interval, with coefficients."""

    coefficients: jax.Array

    def __call__(self, x):
        waves = jnp.arange(1, self.coefficients.size + 1, dtype=x.dtype)
        return self.coefficients @ jnp.sin(jnp.pi * waves * x[0])


def dirichlet(u, x, args):
    return sn.partial(u, 0)(x) ** 2


def test_the_curvature_on_the_sphere_is_that_of_the_rayleigh_quotient():
    energy = sn.Energy(dirichlet, INTERVAL, normalise="l2")
    points = sn.discretise(energy, 40, key=jr.key(0))
    first = Sines(3.0 * jnp.eye(4)[0])
    system = sn.System(energy, first, points)
    factor, hessian = factor_and_hessian(system)
    # At an eigenfunction; along it the quotient has no curvature, and the factor some.
    assert jnp.allclose((factor.T @ factor)[1:], hessian[1:], rtol=1e-10, atol=1e-9)
    wanted = 2 * jnp.pi**2 / 9 * (jnp.arange(2.0, 5.0) ** 2 - 1)
    assert jnp.allclose(jnp.diag(hessian)[1:], wanted)


def test_products_have_the_signs_of_the_curvature_and_the_factor_has_none():
    # Of the first four sines one has less slope than the density takes of its size.
    saddle = lambda u, x, args: (dirichlet(u, x, args) - 20.0 * u(x) ** 2) / 2
    energy = sn.Energy(saddle, INTERVAL)
    field = Sines(jnp.ones(4))
    system = sn.System(energy, field, sn.discretise(energy, 40, key=jr.key(0)))

    @eqx.filter_jit
    def both(system):
        gram, params = sn.EnergyMetric().on(system), system.params
        product = lambda v: gram.product(params, None, v)
        return gram.factor(params), jax.vmap(product)(jnp.eye(4))

    factor, product = both(system)
    curvature = (jnp.pi**2 * jnp.arange(1.0, 5.0) ** 2 - 20.0) / 2
    assert curvature[0] < 0
    assert jnp.allclose(product, jnp.diag(curvature), atol=1e-10)
    assert jnp.allclose(factor.T @ factor, jnp.diag(jnp.abs(curvature)), atol=1e-9)


def test_a_least_squares_solver_is_not_bound_to_an_energy():
    energy = sn.Energy(dirichlet, INTERVAL)
    points = sn.discretise(energy, 40, key=jr.key(0))
    system = sn.System(energy, Sines(jnp.ones(4)), points)
    solver = sn.GaussNewton(sn.EnergyMetric(), factorisation=sn.Krylov())
    with pytest.raises(ValueError, match="an energy is none"):
        solver.on(system)


STRONG = [
    {},
    {"normalise": "l2"},
    {"conditions": [sn.Dirichlet(SQUARE.part("left"), 1.0, exact=False)]},
]


@pytest.mark.parametrize("options", STRONG)
def test_the_strong_slope_is_the_weak_one(options, getkey):
    system = on_the_square(area, getkey(), **options)
    step = jax.tree.map(jnp.cos, system.params)

    @eqx.filter_jit
    def both(system, step):
        flat, loss = of_vector(system)
        strong = StrongForm(system)
        found, size = strong.gradient(system.params, None)
        along = strong.along(system.params, step, None)
        return jax.grad(loss)(flat), found, size, along

    weak, found, size, along = both(system, step)
    # By parts, up to the quadrature of a network.
    assert jnp.linalg.norm(found - weak) < 1e-9 * size
    assert jnp.allclose(along, found @ jfu.ravel_pytree(step)[0], rtol=1e-9)


def test_a_decrease_far_below_the_rounding_of_the_loss_is_seen():
    centre = jnp.array([1.0, 2.0])
    loss = lambda y: 5.0 + jnp.sum((y - centre) ** 2)
    step = jnp.array([1e-11, -2e-11])
    slope = Slope(loss, centre - step / 4, None, None)
    here = loss(slope.flat)
    decrease = slope.decrease(step, here, loss(slope.flat + step))
    wanted = jnp.sum(step**2) * (1 / 16 - 9 / 16)
    # Positions have rounding of their own: 2e-16 beside steps of 1e-11.
    assert jnp.allclose(decrease, wanted, rtol=1e-3, atol=0.0)
    assert jnp.allclose(slope.decrease(1e9 * step, here, 4.0), 1.0)


@pytest.mark.slow
def test_a_ground_state_has_norm_one_and_is_positive():
    wall = sn.Dirichlet(INTERVAL.boundary, 0.0)
    energy = sn.Energy(dirichlet, INTERVAL, conditions=[wall], normalise="l2")
    field = sn.MLP(1, width=8, key=jr.key(0), domain=INTERVAL)
    solution = sn.solve(energy, field, key=jr.key(1), max_steps=60)
    ground = lambda x: jnp.sqrt(2.0) * jnp.sin(jnp.pi * x[0])
    assert sn.relative_errors(solution, ground)[0] < 1e-2
    assert abs(solution.stats["loss"] / jnp.pi**2 - 1) < 1e-3


def test_the_quantities_of_a_case_are_reported():
    solution = sn.Solution(
        lambda x: x[0], result=sn.RESULTS.converged, stats={}, history={}
    )
    run = Run("", solution, None, None, {"level": (2.0, 0.5)})
    record = run.record("case", 0)
    assert record["level"] == 2.0 and record["level_error"] == 0.5


def test_a_quantity_that_is_no_pair_is_refused():
    energy = sn.Energy(dirichlet, INTERVAL)
    with pytest.raises(ValueError, match="'level' of case 'x' is a pair"):
        sn.Case("x", energy, None, quantities={"level": (3.0, 3.0)})
