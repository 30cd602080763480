"""One file with a JSON header and binary members; written whole or not at all."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import jax


FORMAT = "sobng"
VERSION = 1
_HEADER = "header.json"
# A fixed date: the same content gives the same file, byte for byte.
_DATE = (1980, 1, 1, 0, 0, 0)

Path = str | os.PathLike


@contextlib.contextmanager
def _atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when everything in it has reached the disk."""
    path = pathlib.Path(path)
    temporary = _neighbour(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        raise ValueError(
            f"Cannot write '{path}': {error.strerror or error}. Choose a folder that "
            "exists, that you may write to and that has room."
        ) from error
    except BaseException:  # Ctrl-C too: nothing half-written stays behind
        _discard(temporary)
        raise


def _neighbour(path: pathlib.Path) -> pathlib.Path:
    """A name in the same folder, as a file is only renamed within its file system."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"


def _discard(temporary: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink()


def write_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file of any kind, for instance a picture, whole or not at all.

    **Arguments:**

    - `path`: its name; a file of that name is replaced at the very end.
    - `write`: fills an open binary file.

    **Raises:** `ValueError` if the folder cannot be written to.
    """
    with _atomic(path) as file:
        write(file)


def check_writable(path: Path) -> None:
    """**Raises:** `ValueError` if the file cannot be written. Leaves nothing behind."""
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(
            f"Cannot write '{path}': it is a folder. Give the name of a file in it."
        )
    try:
        temporary = _neighbour(path)
        open(temporary, "xb").close()
        temporary.unlink()
    except OSError as error:
        raise ValueError(
            f"Cannot write '{path}': {error.strerror or error}. Choose a folder that "
            "exists and that you may write to."
        ) from error


def sobng_version() -> str:
    """The installed version, `unknown` for a bare checkout."""
    try:
        return importlib.metadata.version("sobng")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def write_archive(
    path: Path, kind: str, header: Mapping[str, Any], members: Mapping[str, bytes]
) -> None:
    """Writes a header and members as one file.

    **Arguments:**

    - `path`: the name of the file.
    - `kind`: what the file holds; a reader asks for it.
    - `header`: plain data for JSON.
    - `members`: binary contents by name.

    **Raises:** `ValueError` if the folder cannot be written to, or the header is not
    plain data.
    """
    full = {
        "format": FORMAT,
        "kind": kind,
        "version": VERSION,
        "sobng": sobng_version(),
        "jax": jax.__version__,
        **header,
    }
    try:
        text = json.dumps(full)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The header of '{path}' is not plain data: {error}. Use numbers, strings, "
            "lists and dicts."
        ) from error
    with _atomic(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER, _DATE), text)
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)


def read_archive(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header and the members of a file.

    **Arguments:**

    - `path`: the name of the file.
    - `kind`: what it has to hold.

    **Raises:** `ValueError` if there is no such file, or it is damaged, or not one of
    sobng's, or of another kind, or newer than this version of sobng.
    """
    header, members = _contents(path)
    if header.get("format") != FORMAT:
        raise foreign(path)
    found = header.get("version")
    if not isinstance(found, int) or found > VERSION:
        raise ValueError(
            f"'{path}' is in version {found} of the format, written by sobng "
            f"{header.get('sobng')}. This sobng reads up to version {VERSION}. Install "
            "a newer one."
        )
    if header.get("kind") != kind:
        raise ValueError(
            f"'{path}' holds a {header.get('kind')}, not a {kind}. Solutions are read "
            "by `sobng.load`, checkpoints by `sobng.solve(..., checkpoint=path)`."
        )
    return header, members


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        with open(path, "rb") as file:
            begins = file.read(4)
            if begins and not b"PK\x03\x04".startswith(begins):
                raise foreign(path)
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    raise corrupt(path)
                members = {name: archive.read(name) for name in archive.namelist()}
    except OSError as error:
        raise ValueError(
            f"Cannot read '{path}': {error.strerror or error}. Check the name."
        ) from error
    except _DAMAGE as error:
        raise corrupt(path) from error
    if _HEADER not in members:
        raise foreign(path)
    try:
        header = json.loads(members.pop(_HEADER))
    except ValueError as error:
        raise corrupt(path) from error
    if not isinstance(header, dict):
        raise foreign(path)
    return header, members


# What the zip reader raises on damaged bytes, apart from its own error.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    IndexError,
    KeyError,
    OverflowError,
)


def corrupt(path: Path) -> ValueError:
    """The error for a file that is damaged."""
    return ValueError(
        f"'{path}' is corrupt: it is incomplete, or was changed after it was written. "
        "Delete it, or restore it from a copy."
    )


def foreign(path: Path) -> ValueError:
    """The error for a file that sobng did not write."""
    return ValueError(
        f"'{path}' is a foreign file: sobng did not write it. Give the name of one "
        "that `Solution.save` or a checkpoint wrote."
    )
