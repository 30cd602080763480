"""The command line: what it prints, where, with which exit code, and its refusals."""

import json
import sys
import types

import jax
import jax.export
import jax.numpy as jnp
import pytest

import sobng as sn
from sobng.cli import main
from sobng.cli.files import load_problem_file, parse_options
from sobng.cli.output import number


LINE = '''"""A parabola on a line.

More about it.
"""

import jax.numpy as jnp

import sobng as sn


def case(*, height=1.0, accuracy=1e-2, width=8):
    """One option too many would be an error."""
    if not (isinstance(height, int | float) and height > 0):
        raise ValueError(f"`height` is a positive number. Got {height!r}.\\nMend it.")
    line = sn.Interval(0.0, 1.0)
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x) + 8.0 * height,
            line.interior,
            name="parabola",
        ),
        sn.Dirichlet(line.boundary, 0.0, name="ends"),
    )
    return sn.Case(
        "line",
        problem,
        lambda key: sn.MLP(dim=1, width=width, key=key),
        reference=lambda x: 4.0 * height * x[0] * (1.0 - x[0]),
        options={"stages": sn.strategy("all-parameters")},
        accuracy=accuracy,
        tags=("smooth", "tiny"),
        good_values="none yet",
    )
'''

REFERENCE = "4.0 * height * x[0] * (1.0 - x[0])"

TAGS = 'tags=("smooth", "tiny")'

HEAT = '''"""A rod that cools."""

import jax.numpy as jnp

import sobng as sn


def case():
    rod = sn.Interval(0.0, 1.0)
    rhs = lambda u, t, x, args: sn.laplacian(u)(x)
    problem = sn.Evolution(rhs, lambda x: jnp.sin(x[0]), rod)
    reference = lambda t, x: jnp.exp(-t) * jnp.sin(x[0])
    return sn.Case("heat", problem, None, reference=reference)
'''

KEYS = [
    *("name", "seed", "rel_l2", "rel_h1", "loss", "steps", "seconds"),
    *("compile_seconds", "result", "error_estimate", "params", "rows"),
    *("device", "dtype", "peak_memory_bytes"),
]

# What is wrong, the arguments, and a word that the one sentence must contain. `{}` is a
# folder with the files below.
FILES = {
    "line.py": LINE,
    "syntax.py": "def case(:\n",
    "raises.py": "raise RuntimeError('on\\nloading')\n",
    "leaves.py": "import sys\nsys.exit(5)\n",
    "imports.py": "import a_package_that_nobody_has\n",
    "caseless.py": "x = 1\n",
    "number.py": "case = 3\n",
    "wrong.py": "def case():\n    return 3\n",
    "breaks.py": "def case(*, a=1):\n    return a[0]\n",
    "names.py": LINE.replace(TAGS, 'quantities={"loss": (lambda s: 1.0, 1.0)}'),
    "binary.py": "\0\1\2",
    "notes.txt": LINE,
}
BAD = {
    "no command": ("", "COMMAND"),
    "unknown command": ("jump", "jump"),
    "no file": ("run", "FILE"),
    "missing file": ("run {}/nowhere.py", "nowhere.py"),
    "a folder": ("run {}", "does not exist"),
    "not Python by name": ("run {}/notes.txt", "notes.txt"),
    "not Python": ("run {}/binary.py", "binary.py"),
    "syntax error": ("run {}/syntax.py", "SyntaxError"),
    "raises on loading": ("run {}/raises.py", "RuntimeError"),
    "exits on loading": ("run {}/leaves.py", "SystemExit"),
    "missing import": ("run {}/imports.py", "a_package_that_nobody_has"),
    "no case": ("run {}/caseless.py", "case"),
    "case is a number": ("run {}/number.py", "case"),
    "case returns a number": ("run {}/wrong.py", "Case"),
    "case breaks": ("run {}/breaks.py", "TypeError"),
    "a quantity of a taken name": ("run {}/names.py", "'loss'"),
    "unknown option": ("run {}/line.py --option colour=1", "colour"),
    "option of wrong value": ("run {}/line.py --option height=-1", "height"),
    "option of wrong type": ("run {}/line.py --option height=[1,", "height"),
    "option without value": ("run {}/line.py --option height", "name=value"),
    "option without name": ("run {}/line.py --option =1", "name=value"),
    "option twice": ("run {}/line.py --option height=1 --option height=2", "twice"),
    "impossible width": ("run {}/line.py --option width=0", "width"),
    "unknown flag": ("run {}/line.py --colour", "--colour"),
    "bad dtype": ("run {}/line.py --dtype float16", "float16"),
    "bad seed": ("run {}/line.py --seed one", "one"),
    "negative seed": ("run {}/line.py --seed -1", "-1"),
    "no steps": ("run {}/line.py --max-steps 0", "0"),
    "negative time limit": ("run {}/line.py --time-limit -3", "-3"),
    "no time": ("run {}/line.py --time-limit 0", "time"),
    "undefined time limit": ("run {}/line.py --time-limit nan", "nan"),
    "output below a file": ("run {}/line.py --out {}/line.py/out", "line.py/out"),
    "output is a file": ("run {}/line.py --out {}/notes.txt", "notes.txt"),
    "output in /proc": ("run {}/line.py --out /proc/nowhere", "/proc/nowhere"),
    "JSON into no folder": ("run {}/line.py --json {}/no/a.json", "a.json"),
    "JSON is a folder": ("run {}/line.py --json {}", "folder"),
    "a checkpoint in no folder": ("run {}/line.py --checkpoint {}/no/a", "a"),
    "three checkpoints": ("run {}/line.py --compare --checkpoint {}/a", "--compare"),
    "list nowhere": ("list {}/nowhere", "nowhere"),
    "list a file": ("list {}/line.py", "line.py"),
    "info on nothing": ("info {}/nowhere.py", "nowhere.py"),
    "export nothing": ("export {}/nowhere.sobng {}/a.bin", "nowhere.sobng"),
    "export a problem": ("export {}/line.py {}/a.bin", "line.py"),
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def is_x64():
    return jnp.zeros(()).dtype == jnp.float64


def listing(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize("arguments, word", BAD.values(), ids=BAD)
def test_unusable_input_gets_one_sentence_and_nothing_is_written(
    arguments, word, folder, capsys
):
    before = listing(folder)
    assert main(arguments.replace("{}", str(folder)).split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("sobng: ")
    assert word in printed.err and "Traceback" not in printed.err
    assert listing(folder) == before


def test_an_empty_folder_has_no_problems(tmp_path, capsys):
    assert main(["list", str(tmp_path)]) == 2
    assert "no problem files" in capsys.readouterr().err


def test_the_json_object_is_the_last_line(folder, capsys):
    before = list(sys.path), is_x64()
    assert main(["run", str(folder / "line.py"), "--seed", "3", "--json", "-"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out.splitlines()[-1])
    assert list(record) == KEYS
    assert record["name"] == "line" and record["seed"] == 3
    assert 0 <= record["rel_l2"] < 1e-2 and record["rel_l2"] < record["rel_h1"]
    assert record["dtype"] == "float64" and record["params"] > 8
    assert "step" in printed.err  # the progress line
    assert (list(sys.path), is_x64()) == before
    assert listing(folder) == sorted(map(type(folder), FILES))


def test_a_run_short_of_its_accuracy_ends_with_3(folder, capsys):
    arguments = ["run", str(folder / "line.py"), "--max-steps", "1", "--quiet"]
    assert main([*arguments, "--option", "accuracy=1e-30"]) == 3
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


def found(field, **facts):
    """A solution that took no time."""
    stats = {"loss": 0.1, "num_steps": 3, "seconds": 0.1, "compile_seconds": 0.2}
    return sn.Solution(
        field, result=sn.RESULTS.converged, stats=stats, history={}, **facts
    )


def solved(monkeypatch, field):
    """Lets `sobng run` find this field at once."""
    solution = found(field, domain=sn.Interval(0.0, 1.0))
    monkeypatch.setattr("sobng.cli.running.solve", lambda *_, **__: solution)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("0.0 * x[0]", "No error: The reference vanishes"),
        ("jnp.stack([x[0], x[0]])", "No error: The field gives values of shape"),
        ("undefined", "No error: NameError"),
    ],
)
def test_a_solution_outlives_a_reference_that_cannot_be_compared_with(
    reference, words, folder, monkeypatch, capsys
):
    (folder / "other.py").write_text(LINE.replace(REFERENCE, reference))
    solved(monkeypatch, lambda x: x[0])
    arguments = ["run", str(folder / "other.py"), "--quiet", "--out", str(folder)]
    assert main([*arguments, "--json", str(folder / "other.json")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(words)
    assert all(line.startswith(("No error: ", "No picture: ")) for line in lines)
    assert json.loads((folder / "other.json").read_text())["rel_l2"] is None
    assert (folder / "line.sobng").exists()


def test_a_picture_that_cannot_be_drawn_costs_no_json(folder, monkeypatch, capsys):
    text = LINE.replace(f"reference=lambda x: {REFERENCE},", "")
    (folder / "pair.py").write_text(text)
    solved(monkeypatch, {"u": lambda x: x[0], "v": lambda x: x[0]})
    arguments = ["run", str(folder / "pair.py"), "--quiet", "--out", str(folder)]
    assert main([*arguments, "--json", "-"]) == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["loss"] == 0.1
    assert printed.err.startswith("No picture: ") and "observe=" in printed.err


def test_a_quantity_is_judged_absolutely_where_its_exact_value_is_zero(
    folder, monkeypatch, capsys
):
    quantities = """quantities={
            "zero": (lambda s: 0.5, 0.0),
            "two": (lambda s: 1.0, 2.0),
            "broken": (lambda s: s.nothing, 1.0),
        }"""
    (folder / "numbers.py").write_text(LINE.replace(TAGS, quantities))
    solved(monkeypatch, lambda x: x[0])
    arguments = ["run", str(folder / "numbers.py"), "--json"]
    assert main([*arguments, str(folder / "a.json")]) == 3
    printed = capsys.readouterr()
    assert "zero 0.5, absolute error 5.0e-01" in printed.out
    assert "two 1, relative error 5.0e-01" in printed.out
    assert "No broken: AttributeError" in printed.err
    record = json.loads((folder / "a.json").read_text())
    assert record["zero_error"] == record["two_error"] == 0.5
    assert record["broken"] is None and record["broken_error"] is None


@pytest.mark.parametrize(("end", "code"), [(1.0, 0), (0.5, 3)])
def test_an_evolution_without_a_goal_has_to_come_to_its_last_time(
    end, code, folder, monkeypatch
):
    (folder / "heat.py").write_text(HEAT)
    field = lambda x: jnp.exp(-end) * jnp.sin(x[0])
    last = found(field, domain=sn.Interval(0.0, 1.0))
    last.stats["loss"] = None
    evolved = types.SimpleNamespace(
        field=field, t1=end, result=sn.RESULTS.successful, snapshot=lambda: last
    )
    monkeypatch.setattr("sobng.cli.running.evolve", lambda *_, **__: evolved)
    drawn = []
    draw = lambda field, domain, reference, **_: drawn.append(reference)
    monkeypatch.setattr("sobng.cli.commands.plot_solution", draw)
    arguments = ["run", str(folder / "heat.py"), "--quiet", "--out", str(folder)]
    assert main(arguments) == code
    # The field of another time is not compared with the reference at the last one.
    (reference,) = drawn
    assert (reference is not None) == (end == 1.0)


@pytest.mark.slow
def test_the_table_says_how_good_and_why_it_stopped(folder, capsys):
    arguments = ["run", str(folder / "line.py"), "--option", "height=2"]
    assert main([*arguments, "--json", str(folder / "line.json")]) == 0
    printed = capsys.readouterr().out
    for word in ("rel L2", "rel H1", "estimate", "steps", "seconds", "compiling"):
        assert word in printed
    record = json.loads((folder / "line.json").read_text())
    assert list(record) == KEYS
    assert record["result"] in printed
    assert not list(folder.glob(".*"))  # no part of an unfinished file


@pytest.mark.slow
def test_a_run_resumes_from_its_checkpoint(folder, capsys):
    arguments = ["run", str(folder / "line.py"), "--quiet", "--json", "-"]
    arguments += ["--checkpoint", str(folder / "line.checkpoint")]
    records = []
    for _ in range(2):
        assert main(arguments) == 0
        records.append(json.loads(capsys.readouterr().out))
    assert records[0]["rel_l2"] == records[1]["rel_l2"]


@pytest.mark.slow
def test_float32_is_an_argument(folder, capsys):
    arguments = ["run", str(folder / "line.py"), "--dtype", "float32", "--json", "-"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["dtype"] == "float32"
    assert is_x64()


def test_the_solution_and_its_picture_are_saved(folder):
    arguments = ["run", str(folder / "line.py"), "--quiet"]
    assert main([*arguments, "--out", str(folder / "new" / "out")]) == 0
    saved = folder / "new" / "out" / "line.sobng"
    assert {path.name for path in saved.parent.iterdir()} == {"line.png", saved.name}


@pytest.mark.slow
def test_an_exported_solution_runs_without_sobng(folder):
    saved, target = folder / "out" / "line.sobng", folder / "line.bin"
    main(["run", str(folder / "line.py"), "--quiet", "--out", str(saved.parent)])
    assert main(["export", str(saved), str(target)]) == 0
    points = jnp.array([[0.25], [0.5], [1.0]])
    values = jax.export.deserialize(bytearray(target.read_bytes())).call(points)
    assert jnp.allclose(values, sn.load(saved)(points), rtol=1e-14, atol=1e-14)


@pytest.mark.slow
def test_a_comparison_has_three_rows(folder, capsys):
    arguments = ["run", str(folder / "line.py"), "--max-steps", "30", "--compare"]
    # Optax raises a Python float to the power of an integer array.
    with jax.numpy_dtype_promotion("standard"):
        assert main([*arguments, "--out", str(folder / "out")]) == 0
    rows = capsys.readouterr().out.splitlines()
    for label in ("sobng", "natural gradient", "Adam"):
        assert any(row.startswith(f"{label}  ") for row in rows)
    assert (folder / "out" / "line.png").stat().st_size > 0


def test_list_shows_good_files_and_names_the_bad_ones(folder, capsys):
    assert main(["list", str(folder)]) == 0
    printed = capsys.readouterr().out
    (line,) = [row for row in printed.splitlines() if row.startswith("line ")]
    assert (
        "1e-02" in line and "smooth, tiny" in line and "A parabola on a line." in line
    )
    assert "RuntimeError" in printed and "notes" not in printed


def test_info_shows_statement_conditions_and_options(folder, capsys):
    assert main(["info", str(folder / "line.py")]) == 0
    printed = capsys.readouterr().out
    for words in (
        "A parabola on a line.\n\nMore about it.",
        "parabola: Condition on interior",
        "ends: Dirichlet on boundary",
        "height = 1.0",
        "smooth, tiny",
        "none yet",
    ):
        assert words in printed


def test_option_values_are_literals_or_strings():
    options = parse_options(["a=(1, 4)", "k=2", "b=exact", "c=None", "d=a=b", "e="])
    assert options == {
        "a": (1, 4),
        "k": 2,
        "b": "exact",
        "c": None,
        "d": "a=b",
        "e": "",
    }


def test_files_of_one_name_do_not_meet(tmp_path):
    modules = []
    for value in (1, 2):
        path = tmp_path / str(value) / "same.py"
        path.parent.mkdir()
        path.write_text(
            f"from beside_{value} import x\n\n\ndef case():\n    return x\n"
        )
        (path.parent / f"beside_{value}.py").write_text(f"x = {value}\n")
        modules.append(load_problem_file(path))
    assert [module.case() for module in modules] == [1, 2]
    assert not any(str(tmp_path) in entry for entry in sys.path)


def test_numbers_that_are_not_finite_become_null():
    values = [number(v) for v in (float("nan"), float("inf"), None, 3, "x", 0.5)]
    assert values == [None, None, None, 3, "x", 0.5]


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    assert "--time-limit" in capsys.readouterr().out
