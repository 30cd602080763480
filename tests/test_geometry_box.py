import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from sobng.geometry import Box, Disk, Interval, SpaceTime


finite = st.floats(-5.0, 5.0)
width = st.floats(0.1, 5.0)


@settings(max_examples=20)
@given(st.lists(st.tuples(finite, width), min_size=1, max_size=3), st.integers(1, 300))
def test_tensor_gauss_is_exact_to_its_degree(sides, num):
    lower = np.array([low for low, _ in sides])
    upper = np.array([low + length for low, length in sides])
    points, weights = Box(lower, upper).interior.quadrature(num)
    assert np.all(weights > 0)
    assert np.isclose(weights.sum(), np.prod(upper - lower), rtol=1e-13)
    for axis in range(len(sides)):
        nodes = len(np.unique(points[:, axis].round(12)))
        degree = 2 * nodes - 1
        unit = (points[:, axis] - lower[axis]) / (upper[axis] - lower[axis])
        # In the unit cell the integral of s^k is 1 / (k + 1).
        mean = np.sum(weights * unit**degree) / weights.sum()
        assert np.isclose(mean, 1 / (degree + 1), rtol=1e-9)


@pytest.mark.parametrize("num", [1, 7, 400])
def test_boundary_rules_sum_to_the_measure_and_lie_on_the_boundary(num):
    box = Box((0.0, -1.0, 2.0), (1.0, 1.0, 5.0))
    points, weights = box.boundary.quadrature(num)
    assert np.isclose(weights.sum(), 2 * (2 + 3 + 6))
    assert np.all(weights > 0)
    assert np.all(box.signed(points, np) == 0)


def test_parts_have_their_names_faces_and_normals():
    box = Box((0.0,) * 4, (1.0,) * 4)
    assert box.names[:6] == ("left", "right", "bottom", "top", "back", "front")
    assert box.names[6:] == ("lower_3", "upper_3")
    for axis in range(4):
        for side in (0, 1):
            face = box.face(axis, side)
            assert face.faces == ((axis, side),)
            points, _ = face.quadrature(5)
            expected = np.zeros(4)
            expected[axis] = 2 * side - 1
            normals = jax.vmap(face.normal)(jnp.asarray(points))
            assert np.array_equal(normals, np.tile(expected, (len(points), 1)))
    assert box.part("left", "top").faces == ((0, 0), (1, 1))
    assert set(box.parts) == set(box.names)


@settings(max_examples=20)
@given(st.tuples(finite, finite), st.tuples(width, width), st.tuples(finite, finite))
def test_distance_has_the_right_sign_and_size(lower, lengths, point):
    upper = tuple(a + b for a, b in zip(lower, lengths, strict=True))
    box = Box(lower, upper)
    nearest = np.clip(point, lower, upper)
    if np.all(np.less(lower, point) & np.less(point, upper)):
        expected = np.min([np.subtract(point, lower), np.subtract(upper, point)])
    else:
        expected = -np.linalg.norm(np.subtract(point, nearest))
    assert np.isclose(box.distance(jnp.asarray(point)), expected, atol=1e-12)


def test_factor_vanishes_exactly_on_its_faces_only(getkey):
    box = Box((0.1, -0.3), (0.7, 1.1))
    inner, _ = box.interior.sample(64, getkey())
    for region in (box.boundary, box.part("left", "top"), *box.parts.values()):
        on, _ = region.sample(32, getkey())
        assert np.all(jax.vmap(region.factor)(jnp.asarray(on)) == 0)
        values = jax.vmap(region.factor)(jnp.asarray(inner))
        assert np.all(values > 0) and np.all(values <= 1)
        slopes = jax.vmap(
            lambda x, region=region: jax.grad(region.factor)(x) @ region.normal(x)
        )(jnp.asarray(on))
        assert np.all(slopes < 0)
    assert np.isclose(box.boundary.factor(jnp.array([0.4, 0.4])), 1.0)


def test_equal_domains_hash_equal_and_compile_once():
    count = 0

    def distance(region, x):
        nonlocal count
        count += 1
        return region.domain.distance(x)

    compiled = jax.jit(distance, static_argnums=0)
    for _ in range(3):
        box = Box((0, 0), np.array([1.0, 2.0]))
        compiled(box.boundary, jnp.zeros(2))
        compiled((Interval(0, 1) * Disk((0, 0), 1)).lateral, jnp.zeros(3))
    assert count == 2
    assert hash(Box((0, 0), (1, 2))) == hash(box) and Box((0, 0), (1, 2)) == box
    assert Box((0, 0), (1, 3)) != box
    assert jax.tree.leaves(box.boundary) == []


def test_traced_methods_follow_the_dtype():
    x = jnp.array([0.3, 0.2, 0.1], jnp.float32)
    for domain in (Box((0,) * 3, (1,) * 3), Interval(0, 1) * Disk((0, 0), 1.0)):
        region = domain.boundary
        for function in (domain.distance, domain.level, region.normal, region.factor):
            assert function(x).dtype == jnp.float32


def test_space_time_is_the_product():
    domain = Interval(0.0, 2.0) * Disk((0.0, 0.0), 1.0)
    assert isinstance(domain, SpaceTime) and domain.dim == 3
    assert domain.names == ("initial", "final", "circle")
    points, weights = domain.interior.quadrature(500)
    # The mean of t^2 is 4/3, the integral of x^2 over the disk pi/4.
    integral = np.sum(weights * points[:, 0] ** 2 * points[:, 1] ** 2)
    assert np.isclose(integral, 2 * 4 / 3 * np.pi / 4, rtol=1e-13)
    points, weights = domain.lateral.quadrature(200)
    assert np.isclose(weights.sum(), 4 * np.pi)
    assert np.allclose(np.sum(points[:, 1:] ** 2, axis=1), 1)
    assert np.all(domain.initial.quadrature(10)[0][:, 0] == 0)
    assert np.all(domain.final.sample(10, jr.key(0))[0][:, 0] == 2)
    total = domain.boundary.quadrature(100)[1].sum()
    assert np.isclose(total, 2 * np.pi + 4 * np.pi)


def test_space_time_factor_and_normals(getkey):
    domain = Interval(0.0, 2.0) * Disk((0.0, 0.0), 1.0)
    x = jnp.array([0.5, 0.6, 0.8])
    assert np.allclose(domain.boundary.normal(x), [0, 0.6, 0.8])
    assert np.allclose(domain.initial.normal(x), [-1, 0, 0])
    region = domain.part("initial", "circle")
    points, _ = region.sample(50, getkey())
    assert np.allclose(jax.vmap(region.factor)(jnp.asarray(points)), 0, atol=1e-15)
    inner, _ = domain.interior.sample(50, getkey())
    assert np.all(jax.vmap(region.factor)(jnp.asarray(inner)) > 0)
    assert domain.distance(jnp.array([2.5, 0.0, 0.0])) < 0


def test_space_time_of_a_box_knows_its_faces():
    domain = Interval(0, 2) * Box((-1, -1), (1, 1))
    assert domain.initial.faces == ((0, 0),)
    assert domain.lateral.faces == ((1, 0), (1, 1), (2, 0), (2, 1))
    assert domain.face(1, 1).name == "right" and domain.face(0, 1).name == "final"
    assert len(domain.interior.quadrature(1000)[0]) == 1000  # 10 x 10 x 10
    lower, upper = domain.bounds
    assert np.array_equal(lower, [0, -1, -1]) and np.array_equal(upper, [2, 1, 1])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Box((0, 0), (1, 0)), "is empty along axis 1"),
        (lambda: Box((0, 0), (1,)), "same length"),
        (lambda: Box((0, np.nan), (1, 1)), "finite `lower`"),
        (lambda: Interval(1.0, 0.0), "Got 1.0 and 0.0"),
        (lambda: Interval(0, np.inf), "finite `upper`"),
        (lambda: Box((0, 0), (1, 1)).part("front"), "Choose from 'left'"),
        (lambda: Box((0, 0), (1, 1)).face(2, 0), "no such face"),
        (lambda: Interval(0, 1).interior.quadrature(0), "Got num = 0"),
        (lambda: Interval(0, 1).interior.sample(0, jr.key(0)), "Got num = 0"),
        (lambda: Interval(0, 1).interior.normal(jnp.zeros(1)), "part of a boundary"),
        (lambda: Box((0, 0), (1, 1)) * Interval(0, 1), "Interval` of time"),
        (lambda: Interval(0, 1) * (Interval(0, 1) * Interval(0, 1)), "Interval"),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
