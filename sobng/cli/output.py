"""What a command writes: one sentence, one table, one file."""

import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any


FIELDS = (
    *("name", "seed", "rel_l2", "rel_h1", "loss", "steps", "seconds"),
    *("compile_seconds", "result", "error_estimate", "params", "rows"),
    *("device", "dtype", "peak_memory_bytes"),
)
"""Of the JSON object; the quantities of a case follow."""


class Unusable(Exception):
    """Input that cannot be used; the message is one line for standard error."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def say_missing(what: str, error: Exception) -> None:
    """One line for standard error on what a solution goes without."""
    ours = isinstance(error, ValueError | ImportError)
    kind = "" if ours else f"{type(error).__name__}: "
    print(f"No {what}: {kind}{' '.join(str(error).split())}", file=sys.stderr)


def check_folder(path: pathlib.Path) -> None:
    """Raises `Unusable` unless files can be written to a folder.

    A folder that is not there can be made in the nearest one that is.
    """
    nearest = path.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise Unusable(
            f"The folder {path} cannot be written to: {error.strerror or error}. "
            "Choose another."
        ) from error


def check_parent(path: pathlib.Path) -> None:
    """Raises `Unusable` unless a file can be written, in a folder that is there."""
    if path.is_dir():
        raise Unusable(f"{path} is a folder. Name a file in it.")
    if not path.absolute().parent.is_dir():
        raise Unusable(f"The folder of {path} does not exist. Make it first.")
    check_folder(path.absolute().parent)


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that whoever reads it sees all of it or nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def number(value: Any) -> Any:
    """What JSON can hold: `null` for what is unavailable or not finite."""
    if value is None or isinstance(value, str | int):
        return value
    return float(value) if math.isfinite(value) else None


def show_table(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Aligned columns; `sides` has a `<` or `>` for each, as in format strings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    forms = [f"{side}{width}" for side, width in zip(sides, widths, strict=True)]
    return "\n".join("  ".join(map(format, row, forms)).rstrip() for row in rows)
