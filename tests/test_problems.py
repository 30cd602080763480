"""The catalogue: every file states what it says, and its solution solves it."""

import importlib
import pathlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sobng as sn
from sobng.cli.running import errors_of


FOLDER = pathlib.Path(__file__).resolve().parent.parent / "problems"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))

# Options that change the statement, apart from none at all.
OPTIONS = {
    "advection_1d": [{"speed": -2.0, "route": "space-time"}],
    "advection_diffusion_1d": [{"diffusion": 1e-3}],
    "burgers_1d": [{"viscosity": 0.1}],
    "density_1d": [{"loss": "l2"}],
    "heat_1d": [{"route": "space-time"}],
    "heat_4d": [{"route": "space-time"}],
    "helmholtz_2d": [{"a": (2, 3), "k": 2.5}],
    "poisson_2d": [{"boundary": "penalty"}],
    "poisson_5d": [{"data": "gaussian"}],
    "poisson_l_shape": [{"enriched": False}],
}
CASES = [(name, o) for name in NAMES for o in [{}, *OPTIONS.get(name, [])]]

# Whose reference is stored: a spectral solution at a few times.
STORED = {
    "allen_cahn_1d",
    "allen_cahn_2d",
    "burgers_2d",
    "heat_2d",
    "kdv_1d",
    "kuramoto_sivashinsky_1d",
    "schroedinger_1d",
}
EXACT = [case for case in CASES if case[0] not in STORED]

UNUSABLE = [
    ("advection_1d", {"speed": "fast"}),
    ("advection_diffusion_1d", {"diffusion": 0.0}),
    ("advection_diffusion_1d", {"diffusion": "small"}),
    ("burgers_1d", {"viscosity": 0.0}),
    ("density_1d", {"loss": "huber"}),
    ("density_1d", {"metric": "riemann"}),
    ("gross_pitaevskii_2d", {"bandwidth": 0.0}),
    ("heat_1d", {"route": "time"}),
    ("heat_4d", {"route": "time"}),
    ("helmholtz_2d", {"a": 3}),
    ("helmholtz_2d", {"a": (1, 0)}),
    ("helmholtz_2d", {"k": "one"}),
    ("multiscale_poisson_2d", {"frequencies": 4}),
    ("multiscale_poisson_2d", {"frequencies": (4, 0)}),
    ("poisson_2d", {"boundary": "soft"}),
    ("poisson_5d", {"data": "unit"}),
    ("poisson_l_shape", {"data": "cosines"}),
    ("poisson_l_shape", {"enriched": "no"}),
]


def load(name):
    return importlib.import_module(f"problems.{name}")


def exact_solution(name, case):
    # Where the reference is a part of the solution only, `exact` is all of it.
    found = getattr(load(name), "exact", case.reference)
    in_time = found is not case.reference and hasattr(load(name), "evolution")
    if isinstance(case.problem, sn.Evolution) or in_time:
        return lambda x: found(x[0], x[1:])
    return found


def statement(case):
    """The problem of a case; that of an evolution in space-time."""
    if isinstance(case.problem, sn.Evolution):
        return case.space_time().problem
    return case.problem


def perturbed(u):
    """The function, moved a little in every component and derivative."""
    return lambda x: u(x) + 0.1 * jnp.sin(1.1 * jnp.sum(x) + 1.0)


def points_of(region, num, key):
    points, _ = region.sample(num, key)
    return jnp.asarray(points)


def check_residuals(problem, u, getkey):
    for condition in problem.conditions:
        points = points_of(condition.region, 64, getkey())

        @jax.jit
        def residuals(points, condition=condition):
            at = lambda u: jax.vmap(lambda x: condition.residual(u, x, None))(points)
            return jnp.max(jnp.abs(at(u))), jnp.max(jnp.abs(at(perturbed(u))))

        zero, scale = residuals(points)
        # Rounding in second and fourth derivatives, times frequencies of up to 4 pi.
        assert zero < 1e-10 * scale, condition.name


def check_first_variation(energy, u):
    num = 60 if energy.dim == 1 else 6400
    points, weights = map(jnp.asarray, energy.domain.interior.quadrature(num))
    free = energy.domain.boundary.factor if energy.conditions else lambda x: 1.0

    @jax.jit
    def along(step):
        moved = lambda x: u(x) + step * free(x) * jnp.cos(x[0] + 0.3)
        size = jnp.ones(())
        if energy.normalise is not None:
            size = jnp.sqrt(weights @ jax.vmap(moved)(points) ** 2)
        scaled = lambda x: moved(x) / size
        return weights @ jax.vmap(lambda x: energy.density(scaled, x, None))(points)

    slope, curvature = jax.grad(along)(0.0), jax.grad(jax.grad(along))(0.0)
    # The Gauss rule of so many points is exact to rounding.
    assert jnp.abs(slope) < 1e-11 * curvature
    assert curvature > 0


@pytest.mark.parametrize("name, options", EXACT)
def test_the_exact_solution_solves_the_problem(name, options, getkey):
    case = load(name).case(**options)
    u = exact_solution(name, case)
    if u is None:
        pytest.skip("only a number is known of the solution")
    check_residuals(statement(case), u, getkey)
    if isinstance(case.problem, sn.Energy):
        check_first_variation(case.problem, u)


@pytest.mark.parametrize("name, options", CASES)
def test_a_case_is_complete(name, options):
    module = load(name)
    case = module.case(**options)
    assert isinstance(case, sn.Case)
    assert case.name == name
    assert case.accuracy is not None and case.tags
    assert case.reference is not None or case.quantities
    assert len(module.__doc__.strip().splitlines()) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_follows_the_precision_of_its_point(name):
    case = load(name).case()
    if case.reference is None:
        pytest.skip("there is none")
    lower, upper = case.problem.domain.bounds
    at = (0.5,) if isinstance(case.problem, sn.Evolution) else ()
    for dtype in (jnp.float32, jnp.float64):
        point = jnp.asarray(lower + 0.3 * (upper - lower), dtype)
        assert case.reference(*at, point).dtype == dtype


@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_the_network_is_an_option(name, getkey):
    case = load(name).case(width=5, depth=2, stages="all-parameters")
    field = case.field(getkey())
    point = jnp.full((case.problem.dim,), 0.25)
    in_time = isinstance(case.problem, sn.Evolution)
    at = jnp.concatenate([jnp.zeros(1), point]) if in_time else point
    u = exact_solution(name, case)
    assert field(point).shape == (() if u is None else u(at).shape)


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_stored_reference_begins_with_the_initial_values(name, getkey):
    case = load(name).case()
    points = points_of(case.problem.domain.interior, 16, getkey())
    found = jax.vmap(lambda x: case.reference(0.0, x))(points)
    wanted = jax.vmap(lambda x: case.problem.initial_value(x, None))(points)
    # Two of them have kinks at the ends of their period; one is stored with 32 waves, of
    # which the first that is missing has an amplitude of 1e-12.
    rough = {"allen_cahn_1d": 1e-3, "schroedinger_1d": 1e-6, "heat_2d": 1e-11}
    reach = rough.get(name, 1e-12)
    assert jnp.max(jnp.abs(found - wanted)) < reach
    with np.load(FOLDER / "references" / f"{name}.npz") as data:
        assert data["agreement"][-1] < 2e-6


def test_the_route_through_space_time_has_its_own_reference():
    case = load("heat_1d").case(route="space-time", width=4)
    assert isinstance(case.problem, sn.Problem)
    assert case.field(jax.random.key(0))(jnp.asarray([0.5, 0.5])).shape == ()
    assert jnp.allclose(case.reference(jnp.asarray([0.0, 0.5])), 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_and_strategies_are_refused(name):
    with pytest.raises(TypeError, match="colour"):
        load(name).case(colour="blue")
    with pytest.raises(ValueError, match="nonsense"):
        load(name).case(stages="nonsense")


@pytest.mark.parametrize("name, options", UNUSABLE)
def test_unusable_values_are_refused(name, options):
    (value,) = options.values()
    with pytest.raises(ValueError, match="Got ") as caught:
        load(name).case(**options)
    assert repr(value) in str(caught.value)


@pytest.mark.slow
def test_the_elements_on_the_l_shape_solve_the_problem(getkey):
    case = load("poisson_l_shape").case(data="unit")
    equation, wall = case.problem.conditions
    inside = points_of(equation.region, 256, getkey())
    around = points_of(wall.region, 64, getkey())
    at = lambda c: jax.vmap(lambda x: c.residual(case.reference, x, None))
    # Of degree 9, and residuals lose two orders against values. Next to the corners
    # they are larger on average over an element that shrinks.
    assert jnp.median(jnp.abs(at(equation)(inside))) < 1e-4
    assert jnp.max(jnp.abs(at(wall)(around))) < 1e-15
    with np.load(FOLDER / "references" / "poisson_l_shape.npz") as data:
        assert data["l2"] < 1e-8 and data["h1"] < 1e-7


@pytest.mark.slow
def test_the_singular_terms_of_the_l_shape_are_harmonic(getkey):
    module = load("poisson_l_shape")
    inside = points_of(module.l_shape.interior, 64, getkey())
    terms = lambda x: module.singular_terms(x, (1, 2, 4))
    scale = jnp.max(jnp.abs(jax.vmap(sn.hessian(terms))(inside)))
    assert jnp.max(jnp.abs(jax.vmap(sn.laplacian(terms))(inside))) < 1e-13 * scale


def test_the_powers_of_the_l_shape_vanish_on_the_edges_of_its_corner(getkey):
    module = load("poisson_l_shape")
    edges = points_of(module.l_shape.part("edge_0", "edge_5"), 64, getkey())
    values = jax.vmap(lambda x: module.singular_terms(x, (1, 2, 4))[:3])(edges)
    assert jnp.max(jnp.abs(values)) < 1e-14


def test_a_reference_stored_at_few_times_judges_space_time_by_the_last_one():
    circle = sn.Interval(0.0, 1.0)
    evolution = sn.Evolution(
        lambda u, t, x, args: -sn.partial(u, 0)(x),
        lambda x: jnp.sin(2 * jnp.pi * x[0]),
        circle,
        boundary=[sn.Periodic(circle, 0)],
    )
    # At t = 0.5 the wave has turned round.
    waves = np.array([[0.0, -0.5j, 0.5j], [0.0, 0.5j, -0.5j]])
    reference = sn.FourierSeries(waves, [0.0, 0.5], (0.0,), (1.0,))
    case = sn.Case(
        "wave", evolution, None, reference=reference, options={"t0": 0.0, "t1": 0.5}
    )
    field = lambda p: 1.01 * jnp.sin(2 * jnp.pi * (p[1] - p[0]))
    solution: Any = types.SimpleNamespace(field=field, history=())
    error, _ = errors_of(case.space_time(), solution)
    assert np.isclose(error, 0.01, rtol=1e-10)
