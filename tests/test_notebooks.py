"""Notebooks run from top to bottom, and still come to their headline numbers."""

import json
import pathlib

import pytest


FOLDER = pathlib.Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# Of each notebook a variable, and what it has to stay below.
HEADLINES = {
    "first_solve": {"first_error": 1e-10, "error_of_natural": 1e-10},
    # Of the worst of eight arms, on 398 images.
    "classification": {"largest_error": 0.04},
    "geometry": {"theorem": 1e-9, "eigenvalue_error": 1e-6, "mismatches": 0.5},
}


def test_every_notebook_has_a_headline():
    assert set(HEADLINES) == {path.stem for path in NOTEBOOKS}


# Importing Jupyter's packages, and its event loops, warn of their own future.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_reaches_its_numbers(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("sklearn")
    notebook = nbformat.read(path, as_version=4)
    names = list(HEADLINES[path.stem])
    asked = f"print(*map(float, [{', '.join(names)}]))"
    notebook.cells.append(nbformat.v4.new_code_cell(asked))
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    found = map(float, notebook.cells[-1].outputs[0].text.split())
    for name, value in zip(names, found, strict=True):
        assert value < HEADLINES[path.stem][name], name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_run_in_order(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["source"]]
    cells = [c for c in cells if c["cell_type"] == "code"]
    counts = [c["execution_count"] for c in cells]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {out["output_type"] for c in cells for out in c["outputs"]}
    assert kinds and "error" not in kinds
    assert path.stat().st_size < 600_000
