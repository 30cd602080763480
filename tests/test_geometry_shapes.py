import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from sobng.geometry import Ball, Box, Disk, Polygon


SQUARE = Box((-1.0, -1.0), (1.0, 1.0))
L_SHAPE = Polygon([(-1, -1), (0, -1), (0, 0), (1, 0), (1, 1), (-1, 1)])
FRAME = Polygon(
    [(0, 0), (3, 0), (3, 3), (0, 3)], holes=[[(1, 1), (2, 1), (2, 2), (1, 2)]]
)
STAR = Polygon([(0, 0), (4, 0), (4, 3), (2, 0.8), (0, 3)])
PLATE = SQUARE - Disk((0.0, 0.0), 0.5)
CORNER = SQUARE - Box((0.0, -1.0), (1.0, 0.0))
OVERLAP = Box((-1, -1), (0, 1)) | Box((-1, 0), (1, 1))
HALF = Disk((0.0, 0.0), 1.0) & Box((-1.0, 0.0), (1.0, 1.0))
ANNULUS = Disk((0.0, 0.0), 1.0) - Disk((0.0, 0.0), 0.4)
SNOWMAN = Disk((0.0, 0.0), 1.0) | Disk((0.0, 1.4), 0.7)
TRIANGLE_HOLE = SQUARE - Polygon([(-0.3, -0.3), (0.4, -0.2), (0, 0.5)])

PLANAR = {
    "disk": (Disk((0.3, 0.2), 1.5), 2.25 * np.pi),
    "l_shape": (L_SHAPE, 3.0),
    "frame": (FRAME, 8.0),
    "star": (STAR, 7.6),
    "plate": (PLATE, 4 - np.pi / 4),
    "corner": (CORNER, 3.0),
    "overlap": (OVERLAP, 3.0),
    "half": (HALF, np.pi / 2),
    "annulus": (ANNULUS, 0.84 * np.pi),
    "snowman": (SNOWMAN, None),
    "triangle_hole": (TRIANGLE_HOLE, None),
}
domains = pytest.mark.parametrize("domain, area", PLANAR.values(), ids=PLANAR)


def flux(points):
    x, y = points.T
    return np.stack([x**3 * y + np.cos(x + y), y**2 * x], axis=1)


def divergence(points):
    x, y = points.T
    return 3 * x**2 * y - np.sin(x + y) + 2 * x * y


@domains
def test_rules_obey_the_divergence_theorem(domain, area):
    points, weights = domain.interior.quadrature(1500)
    assert np.all(weights >= 0) and np.all(domain.signed(points, np) > 0)
    assert np.isclose(weights.sum(), domain.measure, rtol=1e-13)
    if area is not None:
        # Set operations find the corners to 1e-13.
        assert np.isclose(domain.measure, area, rtol=1e-12)
    on, lengths = domain.boundary.quadrature(600)
    normals = np.asarray(jax.vmap(domain.boundary.normal)(jnp.asarray(on)))
    outflow = np.sum(lengths * np.sum(flux(on) * normals, axis=1))
    # Some cells beside arcs have ten nodes across; everything else is at rounding.
    assert np.isclose(np.sum(weights * divergence(points)), outflow, atol=1e-7)


@domains
def test_boundary_points_lie_on_it_and_normals_point_out(domain, area):
    for region in (domain.boundary, *domain.parts.values()):
        for points, weights in (region.quadrature(50), region.sample(40, jr.key(1))):
            assert np.isclose(weights.sum(), region.measure)
            assert np.max(np.abs(domain.signed(points, np))) < 1e-13
            normals = region.patch.normals(points, np)
            assert np.allclose(np.linalg.norm(normals, axis=1), 1)
            assert np.all(domain.signed(points + 1e-6 * normals, np) < 0)
            assert np.all(domain.signed(points - 1e-6 * normals, np) > 0)


@domains
def test_factors_vanish_on_their_part_and_are_positive_inside(domain, area):
    inner = jnp.asarray(domain.interior.sample(200, jr.key(0))[0])
    for region in (domain.boundary, *domain.parts.values()):
        if not region.has_factor:
            continue
        on = jnp.asarray(region.sample(40, jr.key(1))[0])

        def both(x, region=region):
            value, slope = jax.value_and_grad(region.factor)(x)
            return value, slope @ region.normal(x)

        values, slopes = jax.jit(jax.vmap(both))(jnp.concatenate([on, inner]))
        assert np.max(np.abs(values[:40])) < 1e-13
        assert np.all(slopes[:40] < 0)
        assert np.all(values[40:] > 0) and np.max(values[40:]) < 4
        assert np.max(values[40:]) > 0.05


def test_names_of_combinations_are_unique_and_only_what_survives():
    assert ANNULUS.names == ("circle", "circle_2")
    assert CORNER.names == ("left", "right", "bottom", "top", "left_2", "top_2")
    holes = SQUARE - Disk((0.4, 0.4), 0.3) - Disk((-0.4, -0.3), 0.2)
    assert holes.names[4:] == ("circle", "circle_2")
    assert np.isclose(holes.part("circle_2").measure, 0.4 * np.pi)
    assert HALF.names == ("circle", "bottom")
    assert CORNER.boundary.has_factor and not CORNER.part("left_2").has_factor
    with pytest.raises(ValueError, match="Impose the condition as a penalty"):
        CORNER.part("left_2").factor(jnp.zeros(2))


def test_coincident_walls_count_once():
    assert np.isclose(OVERLAP.boundary.measure, 8.0)
    touching = Box((0, 0), (1, 1)) | Box((1, 0.5), (2, 2))
    assert np.isclose(touching.boundary.measure, 4 + 5 - 1)


def test_domains_that_touch_have_no_factor_as_it_would_vanish_between_them():
    touching = Box((0.0, 0.0), (1.0, 2.0)) | Box((1.0, 0.0), (2.0, 1.0))
    assert not touching.boundary.has_factor
    assert OVERLAP.boundary.has_factor and SNOWMAN.boundary.has_factor


@settings(max_examples=15)
@given(st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_signs_follow_the_set_operations(point):
    x = np.asarray([point])
    disk, box = Disk((0.2, 0.1), 0.9), Box((-0.5, -1.2), (1.4, 0.6))
    one, two = disk.signed(x, np)[0] > 0, box.signed(x, np)[0] > 0
    assert ((disk | box).signed(x, np)[0] > 0) == (one or two)
    assert ((disk & box).signed(x, np)[0] > 0) == (one and two)
    difference = (disk - box).signed(x, np)[0] > 0
    assert difference == (one and not two) or box.signed(x, np)[0] == 0
    for domain in (disk | box, disk & box, disk - box):
        level = domain.level(jnp.asarray(point))
        assert abs(level) < 1e-12 or (level > 0) == (domain.signed(x, np)[0] > 0)


@settings(max_examples=15)
@given(st.integers(3, 9), st.integers(0, 1000), st.integers(1, 200))
def test_rules_of_random_polygons_are_exact(corners, seed, num):
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * (np.arange(corners) + 0.8 * rng.random(corners)) / corners
    radii = 0.3 + rng.random(corners)
    vertices = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon = Polygon(vertices[:: 1 if seed % 2 else -1])
    points, weights = polygon.interior.quadrature(num)
    on, lengths = polygon.boundary.quadrature(30 * corners)
    normals = polygon.boundary.patch.normals(on, np)
    # Two nodes per cell see degree one in x on top of the height's degree one.
    outflow = np.sum(lengths * normals[:, 0] * on[:, 0] ** 2 / 2)
    assert np.all(weights >= 0)
    assert np.isclose(np.sum(weights * points[:, 0]), outflow, atol=1e-12)


def test_polygon_signs_agree_with_shapely():
    shapely = pytest.importorskip("shapely")
    shape = shapely.Polygon(FRAME.rings[0], holes=FRAME.rings[1:])
    points = np.random.default_rng(0).uniform(-1, 4, (500, 2))
    pins = shapely.points(points)
    inside = shapely.contains(shape, pins)
    distances = shapely.distance(shape.boundary, pins)
    expected = np.where(inside, distances, -distances)
    assert np.allclose(FRAME.signed(points, np), expected, atol=1e-13)


def test_names_join_edges_into_parts():
    names = ["wall", "wall", "inlet"]
    polygon = Polygon([(0, 0), (2, 0), (0, 1)], names=names)
    assert polygon.names == ("wall", "inlet")
    assert np.isclose(polygon.part("inlet").measure, 1.0)


@pytest.mark.parametrize("dim", [2, 3, 4, 6])
def test_balls_integrate_squares(dim):
    centre = tuple(np.linspace(-1, 1, dim))
    ball = Ball(centre, 1.5)
    points, weights = ball.interior.quadrature(2000)
    squares = np.sum((points - np.asarray(centre)) ** 2, axis=1)
    expected = ball.measure * 1.5**2 * dim / (dim + 2)
    # Exact rules to three dimensions, Sobol points beyond.
    tolerance = 1e-12 if dim <= 3 else 1e-2
    assert np.isclose(np.sum(weights * squares), expected, rtol=tolerance)
    on, areas = ball.boundary.quadrature(2000)
    assert np.isclose(areas.sum(), ball.measure * dim / 1.5)
    second = np.sum(areas * (on[:, 0] - centre[0]) ** 2)
    assert np.isclose(second, areas.sum() * 1.5**2 / dim, rtol=tolerance * 10)
    normals = ball.boundary.patch.normals(on, np)
    assert np.allclose(normals, (on - np.asarray(centre)) / 1.5)


def test_disk_rule_is_exact_for_polynomials():
    points, weights = Disk((0, 0), 1.0).interior.quadrature(200)
    x, y = points.T
    # The integral of x^6 y^4 over the unit disk is pi / 512.
    assert np.isclose(np.sum(weights * x**6 * y**4), np.pi / 512, rtol=1e-12)


def test_solid_combinations_are_sampled():
    solid = Box((-1,) * 3, (1,) * 3) - Ball((0, 0, 0), 0.5)
    # 2^16 Sobol points give four digits.
    assert np.isclose(solid.measure, 8 - np.pi / 6, rtol=1e-4)
    assert np.isclose(solid.part("sphere").measure, np.pi, rtol=1e-12)
    points, weights = solid.interior.quadrature(500)
    assert len(points) == 500 and np.all(solid.signed(points, np) > 0)
    x = jnp.array([0.5, 0.0, 0.0])
    assert np.allclose(solid.boundary.normal(x), [-1, 0, 0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Disk((0, 0), 0.0), "positive radius. Got 0.0"),
        (lambda: Disk((0, 0, 0), 1.0), "lies in the plane"),
        (lambda: Ball((0,), 1.0), "two or more dimensions"),
        (lambda: Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "crosses or touches"),
        (lambda: Polygon([(0, 0), (1, 1)]), "three or more vertices"),
        (lambda: Polygon([(0, 0), (1, 0), (1, 1), (0, 0)]), "length zero"),
        (lambda: Polygon([(0, 0), (1, 0), (2, 0)]), "crosses or touches"),
        (
            lambda: Polygon([(0, 0), (1, 0), (0, 1)], holes=[[(2, 2), (3, 2), (2, 3)]]),
            "must lie inside the outline",
        ),
        (lambda: Polygon([(0, 0), (1, 0), (0, 1)], names=["a"]), "one name for each"),
        (lambda: Disk((0, 0), 1.0) & Disk((3, 0), 1.0), "`Intersection` is empty"),
        (lambda: Disk((0, 0), 1.0) - Disk((0, 0), 2.0), "`Difference` is empty"),
        (lambda: Disk((0, 0), 1.0) | Ball((0, 0, 0), 1.0), "same dimension"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


SPLIT = Polygon([(0, 0), (0.5, 0), (1, 0), (1, 1), (0, 1)])


def test_the_factor_of_an_edge_leaves_others_on_its_line_free():
    ends = jnp.array([[0.25, 0.0], [0.75, 0.0]])
    wanted, free = jax.vmap(SPLIT.part("edge_0").factor)(ends)
    assert abs(wanted) < 1e-12 < 1e-2 < free


def test_the_factor_of_a_split_side_vanishes_once():
    slope = jax.grad(SPLIT.boundary.factor)(jnp.array([0.25, 0.0]))[1]
    assert slope > 0.1


def test_a_joined_boundary_knows_which_of_two_faces_in_a_plane_is_meant():
    steps = Box((0, 0, 0), (1, 1, 1)) | Box((0.5, 0, 1), (1.5, 1, 2))
    below, above = jnp.array([1.2, 0.5, 1.0]), jnp.array([0.2, 0.5, 1.0])
    assert np.allclose(steps.boundary.normal(below), [0, 0, -1])
    assert np.allclose(steps.boundary.normal(above), [0, 0, 1])
