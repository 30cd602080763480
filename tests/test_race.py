"""The instrument of the benchmarks: statements, bars that are known, tables."""

import ast
import io
import json
import math
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest


FOLDER = pathlib.Path(__file__).resolve().parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import race as racing  # noqa: E402
import report  # noqa: E402
from methods import elements, METHODS, random_features, spectral  # noqa: E402
from plain import jet  # noqa: E402
from statements import STATEMENTS  # noqa: E402


def errors_of(adapter, statement, seconds):
    """The errors that one run of a method writes, and its last line."""
    file = io.StringIO()
    race = racing.Race(statement, 0, seconds, file)
    adapter(race)
    race.close()
    *looks, last = map(json.loads, file.getvalue().splitlines())
    return np.array([look["error"] for look in looks]), last


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_solution_of_a_statement_satisfies_its_equation_and_its_data(name):
    statement = STATEMENTS[name]
    inside, on = statement.training(seed=3, points=(64, 60))
    data = statement.data(np, on.T)
    scale = np.max(np.abs(statement.solution(inside)))
    # Sines of multiples of pi on the walls, and quadrature where there is one.
    assert np.max(np.abs(statement.solution(on) - data)) < 1e-12 * scale
    if statement.factor is not None:
        assert np.max(np.abs(statement.factor(np, on.T))) == 0
        assert np.max(np.abs(data)) < 1e-12
    if statement.exact is not None:
        return
    u = lambda x: statement.data(jnp, x)
    for x in inside:
        left = statement.equation(jnp, x, *jet(u, jnp.asarray(x)))
        assert abs(left) < 1e-10


def test_the_solution_of_burgers_does_not_depend_on_the_nodes():
    statement = STATEMENTS["burgers_1d"]
    x = statement.evaluation()[:500].T
    other = statement.exact(np, x, nodes=600)
    assert np.max(np.abs(statement.exact(np, x) - other)) < 1e-12


def test_every_method_has_its_adapter():
    for name, method in METHODS.items():
        file, function = method.adapter
        tree = ast.parse((FOLDER / "methods" / f"{file}.py").read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in found, name


@pytest.mark.parametrize("statement", ["poisson_2d", "heat_1d", "helmholtz_2d"])
def test_chebyshev_collocation_reaches_rounding(statement):
    errors, _ = errors_of(spectral.collocation, statement, seconds=1.0)
    assert np.min(errors) < 1e-12


@pytest.mark.parametrize("statement", ["poisson_2d", "heat_1d"])
def test_quadratic_elements_converge_with_the_third_order(statement):
    errors, last = errors_of(elements.quadratic, statement, seconds=0.2)
    # Twice as fine: eight times as accurate.
    assert np.all(np.abs(np.log2(errors[:-1] / errors[1:]) - 3) < 0.15)
    assert last["result"] == "ran" and last["params"] > 60


def test_random_features_reach_what_is_known_of_them():
    errors, _ = errors_of(random_features.least_squares, "poisson_2d", seconds=1.0)
    assert np.min(errors) < 1e-9


def test_a_method_that_cannot_run_a_statement_says_why():
    with pytest.raises(racing.Unable, match="not linear"):
        errors_of(random_features.least_squares, "burgers_1d", seconds=1.0)


def test_a_run_ends_with_its_seconds_or_when_numbers_are_not_finite():
    race = racing.Race("heat_1d", 0, 10.0, io.StringIO())
    right, wrong = race.statement.solution, lambda points: points[:, 0] * np.nan
    race.start()
    assert race.look(right, seconds=1.0)
    assert race.look(wrong, seconds=1.01), "it is too early to look again"
    assert not race.look(wrong, seconds=5.0)
    assert race.result == "not finite at 5 s"
    assert not race.look(right, seconds=10.0)


def run_of(*looks, result="ran"):
    lines = [{"seconds": s, "error": error} for s, error in looks]
    sizes = {"params": 5, "points": 7, "compile_seconds": 1.0, "peak_mb": 90.0}
    return [*lines, {"result": result, **sizes}]


def test_a_row_tells_medians_the_worst_and_the_seconds_to_an_error():
    runs = [
        run_of((0.5, 1e-3), (2.0, 1e-7)),
        run_of((0.5, 1e-5), (3.0, 1e-9)),
        run_of((0.5, 1e-3), (4.0, None), result="not finite at 4 s"),
    ]
    assert [report.reached(lines, 1e-4) for lines in runs] == [2.0, 0.5, math.inf]
    cells = [cell.strip() for cell in report.row("adam", runs, 1e-6).split("|")[1:-1]]
    worst = "not finite (3; not finite at 4 s)"
    assert cells[:4] == ["Adam", "1.0e-07", worst, "67 %"]
    assert cells[4:8] == ["2.0", "3.0", "-", "-"]
    assert cells[8:] == ["5", "7", "1.0", "90"]


def test_a_table_names_every_method_and_the_reason_of_those_that_did_not_run():
    runs = {name: [run_of((1.0, 1e-3))] for name in METHODS}
    runs["jinns"] = [[{"result": "failed: no wheel"}]]
    head, rule, *rows = report.table("poisson_2d", runs).splitlines()
    assert len(rows) == len(METHODS)
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1
    assert "| failed: no wheel |" in rows[list(METHODS).index("jinns")]


@pytest.mark.parametrize("mark", [*(f"race-{name}" for name in STATEMENTS), "settings"])
def test_the_page_has_a_place_for_every_part_of_the_report(mark):
    page = report.PAGE.read_text()
    assert page.index(f"<!-- {mark}:begin -->") < page.index(f"<!-- {mark}:end -->")
