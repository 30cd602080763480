"""The code people copy runs: README, pages and the examples in docstrings."""

import inspect
import pathlib
import re
import textwrap

import jax
import jax.numpy as jnp
import pytest

import sobng


ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# The info string is captured whole, so that "python notest" is seen as one that is not
# run, and blocks of other languages as none of ours.
_BLOCK = re.compile(
    r"^(?P<indent>[ \t]*)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


def python_blocks(text: str) -> list[tuple[int, str]]:
    """The line before each block of Python, and its code."""
    return [
        (text[: match.start()].count("\n") + 1, textwrap.dedent(match["code"]))
        for match in _BLOCK.finditer(text)
        if match["info"].strip() == "python"
    ]


def run_blocks(text: str, filename: str, namespace: dict) -> None:
    """Runs the blocks in order, in one namespace; errors show the line in the page."""
    for line, code in python_blocks(text):
        exec(compile("\n" * line + code, filename, "exec"), namespace)


def public_names() -> list[str]:
    return [
        name
        for name, value in vars(sobng).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    ]


def with_example() -> list[str]:
    return [name for name in public_names() if python_blocks(docstring(name))]


def docstring(name: str) -> str:
    return getattr(getattr(sobng, name), "__doc__", None) or ""


def page_cases():
    """Every page; the first one of the documentation repeats the README."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        marks = pytest.mark.slow if name == "docs/index.md" else ()
        yield pytest.param(page, id=name, marks=marks)


@pytest.mark.parametrize("page", list(page_cases()))
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(page.read_text(), str(page), {"__name__": page.stem})


@pytest.mark.parametrize("name", with_example())
def test_the_example_in_a_docstring_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What every example may take for granted; anything else it imports itself.
    namespace = {"jax": jax, "jnp": jnp, "sn": sobng, "sobng": sobng}
    run_blocks(docstring(name), f"<example of {name}>", namespace)


def test_every_public_name_stands_on_one_page_of_the_reference():
    pages = [page.read_text() for page in (ROOT / "docs" / "api").glob("*.md")]
    listed = re.findall(r"^::: sobng\.(\w+)$", "\n".join(pages), re.MULTILINE)
    assert sorted(listed) == sorted(public_names())


def test_marked_blocks_and_other_languages_are_left_alone():
    unmarked = "  ```python\n  a = 1\n  ```\n"
    page = "```python notest\nraise\n```\n```sh\nmake\n```\n" + unmarked
    assert python_blocks(page) == [(7, "a = 1\n")]
