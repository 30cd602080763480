"""Pictures are drawn, and drawn of the right things."""

import jax.numpy as jnp
import numpy as np
import pytest

from sobng.geometry.ball import Disk
from sobng.geometry.box import Box, Interval
from sobng.geometry.polygon import Polygon
from sobng.plotting.figures import plot_comparison, plot_convergence, plot_solution
from sobng.results import RESULTS
from sobng.solution import Solution


SQUARE = Box((0.0, 0.0), (1.0, 1.0))
SECONDS = np.geomspace(0.01, 10.0, 30)
LOSS = np.exp(-SECONDS)
L_SHAPE = Polygon(
    ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (0.0, -1.0))
)


def wave(x):
    return jnp.sin(jnp.sum(3 * x))


def close(x):
    return wave(x) * (1 + 1e-6 * x[0])


def outside(x):
    # Not defined in the missing quarter of the L-shape but at its rim.
    return jnp.where((x[0] > 0.1) & (x[1] < -0.1), jnp.nan, wave(x))


def pair(x):
    return jnp.stack([wave(x), 2 * wave(x)])


def host(x):
    return np.sin(np.sum(3 * np.asarray(x)))


# The domain, field, reference, and how many axes there are: panels and colour bars.
CASES = {
    "a line": (Interval(0.0, 1.0), wave, None, 1),
    "a line with errors": (Interval(0.0, 1.0), wave, close, 2),
    "a square": (SQUARE, wave, close, 4),
    "no error": (SQUARE, wave, wave, 4),
    "a reference on the host": (Disk((0.0, 0.0), 1.0), close, host, 4),
    "a shape with a corner": (L_SHAPE, outside, close, 4),
    "space and time": (Interval(0.0, 2.0) * Interval(0.0, 1.0), wave, None, 2),
    "a plane of space-time": (Interval(0.0, 2.0) * SQUARE, wave, None, 2),
    "a plane of five dimensions": (Box((0.0,) * 5, (1.0,) * 5), wave, close, 4),
    "components": (SQUARE, pair, None, 4),
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr("sobng.plotting.sample._NUM_GRID", 21)


@pytest.mark.parametrize(
    "domain, field, reference, num", CASES.values(), ids=list(CASES)
)
def test_every_domain_has_its_picture(domain, field, reference, num):
    figure = plot_solution(field, domain, reference)
    assert len(figure.axes) == num
    figure.draw_without_rendering()


def test_axes_are_called_by_their_coordinates():
    time = plot_solution(wave, Interval(0.0, 2.0) * Interval(0.0, 1.0)).axes[0]
    assert (time.get_xlabel(), time.get_ylabel()) == ("t", "x")
    plane = plot_solution(wave, Box((0.0,) * 5, (1.0,) * 5)).axes[0]
    assert plane.get_xlabel() == "x₁" and "x₃ = 0.5" in plane.get_title()


def test_the_largest_error_stands_in_the_title():
    title = plot_solution(lambda x: x[0] + 3e-7, Interval(0.0, 1.0), lambda x: x[0])
    assert "3.0e-07" in title.axes[1].get_title()


def test_a_comparison_shows_what_all_runs_recorded(tmp_path):
    path = tmp_path / "runs.png"
    full = {"seconds": SECONDS, "loss": LOSS, "held_out": LOSS, "error": LOSS}
    part = {"seconds": SECONDS, "loss": LOSS, "held_out": LOSS, "error": 0 * LOSS}
    runs = {"one": full, "two": part, "three": part}
    figure = plot_comparison(path, close, SQUARE, wave, runs)
    assert path.read_bytes().startswith(b"\x89PNG")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[2] == "held-out loss"
    assert [t.get_text() for t in figure.axes[2].get_legend().get_texts()] == list(runs)
    assert list(tmp_path.iterdir()) == [path]


def test_a_comparison_of_a_vector_field_shows_lengths():
    figure = plot_comparison(None, pair, SQUARE, pair, {})
    assert figure.axes[0].get_title() == "solution |u|"


def test_runs_that_recorded_nothing_are_left_out():
    whole = {"seconds": SECONDS, "loss": LOSS}
    nothing = {"seconds": SECONDS[:0], "loss": LOSS[:0]}
    runs = {"empty": {}, "untimed": {"loss": LOSS}, "none": nothing, "whole": whole}
    (axes,) = plot_convergence(runs).axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["whole"]


def test_a_loss_is_never_called_an_error():
    history = {"seconds": SECONDS, "loss": LOSS, "held_out": LOSS, "error": LOSS}
    titles = [axes.get_title() for axes in plot_convergence({"a": history}).axes]
    assert [t for t in titles if "error" in t] == ["estimated relative $L^2$ error"]
    assert "training loss" in titles and "held-out loss" in titles


def test_a_solution_plots_itself(tmp_path):
    facts = {"stats": {}, "history": {"seconds": SECONDS, "loss": LOSS}}
    found = Solution(wave, domain=SQUARE, result=RESULTS.converged, **facts)
    found.plot(close, path=tmp_path / "field.pdf")
    assert (tmp_path / "field.pdf").read_bytes().startswith(b"%PDF")


BAD = {
    "nothing recorded": (
        lambda p: plot_convergence({"a": {"seconds": LOSS}}),
        "rel_l2",
    ),
    "an empty history": (lambda p: plot_convergence({"a": {}}), "rel_l2"),
    "other shapes": (lambda p: plot_solution(pair, SQUARE, wave), r"\(2,\)"),
    "no folder": (
        lambda p: plot_solution(wave, SQUARE, path=p / "a" / "b.png"),
        "write",
    ),
    "no picture": (lambda p: plot_solution(wave, SQUARE, path=p / "b.xyz"), "xyz"),
    "no domain": (
        lambda p: Solution(wave, result=RESULTS.converged, stats={}, history={}).plot(),
        "domain",
    ),
}


@pytest.mark.parametrize("call, words", BAD.values(), ids=list(BAD))
def test_what_cannot_be_drawn_is_a_sentence(call, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
