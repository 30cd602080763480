import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sobng.geometry import (
    Adaptive,
    Ball,
    Box,
    Disk,
    Gauss,
    GradedRule,
    GradedSample,
    Grading,
    Interval,
    Polygon,
    Sobol,
    Uniform,
)


DOMAINS = [
    Interval(-1.0, 2.0),
    Box((0.0,) * 5, (1.0,) * 5),
    Ball((0.0,) * 4, 2.0),
    Polygon([(0, 0), (2, 0), (0, 1)]),
    Box((-1, -1), (1, 1)) - Disk((0, 0), 0.5),
    Interval(0, 1) * Disk((0, 0), 1.0),
]


@pytest.mark.parametrize("sampler", [Sobol(100), Uniform(100), Adaptive(100)])
@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: type(domain).__name__)
def test_samplers_return_what_was_asked_for(domain, sampler):
    for region in (domain.interior, domain.boundary, *domain.parts.values()):
        points, weights = sampler(region, jr.key(0))
        assert points.shape == (100, domain.dim) and weights.shape == (100,)
        assert points.dtype == weights.dtype == np.float64
        assert np.allclose(weights, region.measure / 100)
        distance = domain.signed(points, np)
        assert np.all(distance > 0) if not region.is_boundary else True
        assert np.allclose(distance, 0) if region.is_boundary else True


@pytest.mark.parametrize("sampler", [Sobol(64), Uniform(64)])
def test_keys_decide_the_points(sampler):
    region = DOMAINS[1].interior
    first, _ = sampler(region, jr.key(0))
    assert np.array_equal(first, sampler(region, jr.key(0))[0])
    assert np.array_equal(first, sampler(region, jr.PRNGKey(0))[0])
    assert not np.array_equal(first, sampler(region, jr.key(1))[0])


def test_gauss_ignores_the_key():
    region = DOMAINS[0].interior
    assert np.array_equal(
        Gauss(9)(region, jr.key(0))[0], Gauss(9)(region, jr.key(1))[0]
    )


def test_sobol_beats_uniform_on_a_smooth_integrand():
    region = Box((0.0,) * 3, (1.0,) * 3).interior

    def error(sampler):
        errors = []
        for seed in range(10):
            points, weights = sampler(region, jr.key(seed))
            errors.append(np.sum(weights * np.prod(points, axis=1)) - 1 / 8)
        return np.sqrt(np.mean(np.square(errors)))

    assert error(Sobol(1024)) < 0.1 * error(Uniform(1024))


def test_boundary_samples_divide_in_proportion_to_length():
    points, _ = Box((0, 0), (3, 1)).boundary.sample(64, jr.key(0))
    assert np.sum(points[:, 1] == 0) == 24


def score(points):
    return np.exp(-100 * np.sum((points - 0.5) ** 2, axis=1))


def test_adaptive_draws_where_the_score_is_large_and_stays_unbiased():
    region = Box((0, 0), (1, 1)).interior
    sampler, means = Adaptive(200, power=1.0, floor=0.5), []
    for seed in range(20):
        points, weights = sampler.resample(region, score, jr.key(seed))
        assert len(np.unique(points, axis=0)) == 200
        assert np.isclose(weights.sum(), 1.0) and np.all(weights > 0)
        means.append(np.sum(weights * points[:, 0] ** 2))
    near = np.mean(np.sum((points - 0.5) ** 2, axis=1) < 0.04)
    assert near > 0.5  # a uniform share would be 0.13
    # Twenty means of a spread of about 0.02 each.
    assert abs(np.mean(means) - 1 / 3) < 0.02


def test_adaptive_leaves_no_part_out_where_all_scores_are_equal():
    region = Box((0, 0), (1, 1)).interior
    for seed in range(3):
        points, _ = Adaptive(256).resample(
            region, lambda x: 1 + 0 * x[:, 0], jr.key(seed)
        )
        for axis in range(2):
            counts, _ = np.histogram(points[:, axis], bins=8, range=(0, 1))
            # 32 each, with a spread of five.
            assert np.min(counts) > 10


@pytest.mark.parametrize("power", [0.0, 1.0, 8.0])
def test_adaptive_never_repeats_a_point(power):
    region = Interval(0, 1).interior
    sampler = Adaptive(32, power=power, floor=1e-3)
    for spike in (lambda x: 1e300 * (x[:, 0] < 0.01), lambda x: 0 * x[:, 0]):
        points, weights = sampler.resample(region, spike, jr.key(0))
        assert len(np.unique(points)) == 32 and np.all(np.isfinite(weights))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Gauss(0), "`Gauss` needs at least one point"),
        (lambda: Sobol(-1), "Got num = -1"),
        (lambda: Adaptive(5, floor=0.0), "floor > 0"),
        (
            lambda: Adaptive(5).resample(
                DOMAINS[0].interior, lambda x: np.full(len(x), np.nan), jr.key(0)
            ),
            "finite non-negative score",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_grading_and_its_inverse_undo_each_other():
    grading = Grading((-1.0, 0.0), (1.0, 3.0), (1e-6, 100.0))
    cell = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    points, slopes = grading.inverse(cell)
    back = np.stack([grading(jnp.asarray(x)) for x in points])
    # Near the upper wall at 1 a distance of 1e-6 has ten digits.
    assert np.allclose(back, cell, atol=1e-9)
    shifted, _ = grading.inverse(cell + 1e-6)
    assert np.allclose((shifted - points) / 1e-6, slopes, rtol=1e-4, atol=1e-9)
    # A width far above one leaves its axis alone.
    assert np.allclose(points[:, 1], 1.5 * (cell[:, 1] + 1), atol=1e-4)


def test_a_graded_rule_integrates_a_layer_that_a_plain_rule_misses():
    square = Box((0.0, 0.0), (1.0, 2.0))
    layer = lambda x: np.exp(-(1 - x[:, 0]) / 1e-4) * np.cos(x[:, 1])
    exact = 1e-4 * np.sin(2.0)

    def integral(sampler):
        points, weights = sampler(square.interior, jr.key(0))
        return np.sum(weights * layer(points))

    grading = Grading((0.0, 0.0), (1.0, 2.0), (1e-4, 100.0))
    assert abs(integral(Gauss(2500)) - exact) > 0.1 * exact
    assert abs(integral(GradedRule(Gauss(4900), grading)) - exact) < 1e-8 * exact
    points, weights = GradedRule(Gauss(320), grading)(square.boundary, jr.key(0))
    assert np.allclose(square.signed(points, np), 0)
    assert np.isclose(np.sum(weights), 6.0, rtol=1e-9)


def test_graded_samples_find_layers_of_any_width():
    interval = Interval(0.0, 1.0)
    points, weights = GradedSample(4096)(interval.interior, jr.key(1))
    for width in (1e-1, 1e-3, 1e-5):
        found = np.sum(weights * np.exp(-points[:, 0] / width)) / width
        assert abs(found - 1) < 0.1


@pytest.mark.parametrize("low, high", [(0.1, 0.8), (0.2, 1.2), (-1.0, 0.3)])
def test_walls_keep_their_weight_where_corners_are_rounded(low, high):
    box = Box((low, 0.0), (high, 1.0))
    wall = box.part("left")
    grading = Grading(*box.bounds, (1e-3, 1e-3))
    _, weights = GradedRule(Gauss(200), grading)(wall, jr.key(0))
    assert np.isclose(np.sum(weights), 1.0, rtol=1e-6)
    _, weights = GradedSample(2048)(wall, jr.key(0))
    assert abs(np.sum(weights) - 1) < 0.1


def test_a_grading_wants_a_width_for_each_axis():
    with pytest.raises(ValueError, match="one positive width for each axis"):
        Grading((0.0, 0.0), (1.0, 1.0), (1e-3,))
    with pytest.raises(ValueError, match="one positive width"):
        Grading((0.0,), (1.0,), (0.0,))
