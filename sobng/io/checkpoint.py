"""The state of a run on disk: bit for bit, replaced only when complete."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from sobng.io.archive import check_writable, corrupt, Path, read_archive, write_archive
from sobng.io.arrays import is_key, pack, unpack


_KIND = "checkpoint"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often a run saves its state.

    !!! example

        ```python
        import sobng as sn

        sn.Checkpoint("run.checkpoint", every=100)
        ```
    """

    path: str
    every: int

    def __init__(self, path: Any, every: Any = 50):
        """**Arguments:**

        - `path`: the name of the file, in a folder that exists.
        - `every`: how many steps lie between two writes.

        **Raises:** `ValueError` if the folder cannot be written to, or `every < 1`.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"`Checkpoint` needs the name of a file. Got {path!r}.")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                "`Checkpoint` needs a number of steps `every` of at least 1. Got "
                f"{every!r}."
            )
        check_writable(path)
        object.__setattr__(self, "path", os.fspath(path))
        object.__setattr__(self, "every", every)


def as_checkpoint(value: Any) -> Checkpoint | None:
    """A checkpoint from what `solve` takes: `None`, a path, or a `Checkpoint`.

    **Raises:** `ValueError` for anything else.
    """
    if value is None or isinstance(value, Checkpoint):
        return value
    return Checkpoint(value)


def fingerprint(*parts: Any) -> str:
    """A short string that differs when any of the parts prints differently."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def write(path: Path, header: Mapping[str, Any], tree: PyTree) -> None:
    """Writes the state of a run; the previous file stays until the new one is complete.

    Array leaves (JAX, NumPy, random keys) and Python numbers are saved; other leaves
    (functions, strings) are configuration, which `read` takes from its `like`.

    **Arguments:**

    - `path`: the name of the file.
    - `header`: plain data; its `"fingerprint"` is compared on reading.
    - `tree`: any PyTree.

    **Raises:** `ValueError` if the folder cannot be written to.
    """
    notes, members = [], {}
    for path_, leaf in jtu.tree_flatten_with_path(tree)[0]:
        note = {"path": jtu.keystr(path_), "of": "other"}
        # NumPy's float64 is a float of Python too, and an array here.
        if isinstance(leaf, jax.Array | np.ndarray | np.generic):
            packed, content = pack(leaf)
            members[f"arrays/{len(notes)}"] = content
            note |= packed
        elif isinstance(leaf, complex):
            note |= {"of": "complex", "value": [leaf.real, leaf.imag]}
        elif isinstance(leaf, bool | int | float):
            note |= {"of": type(leaf).__name__, "value": leaf}
        notes.append(note)
    write_archive(path, _KIND, {"user": dict(header), "leaves": notes}, members)


def read_header(path: Path) -> dict[str, Any]:
    """The header that was given to `write`.

    **Raises:** `ValueError` if the file is absent, corrupt, foreign or too new.
    """
    return _open(path)[0]


def read(
    path: Path, like: PyTree, fingerprint: str | None = None
) -> tuple[dict[str, Any], PyTree]:
    """Reads the state of a run.

    **Arguments:**

    - `path`: the name of the file.
    - `like`: a PyTree of the same structure, shapes and dtypes; what it holds besides
        numbers is kept, and arrays go to the devices of its arrays.
    - `fingerprint`: if given, what the header has to say.

    **Returns:** the header and the tree.

    **Raises:** `ValueError` if the file is absent, corrupt, foreign or too new, or if
    it belongs to another run.
    """
    header, notes, members = _open(path)
    if fingerprint is not None:
        _check_run(path, header, fingerprint)
    leaves, structure = jtu.tree_flatten_with_path(like)
    if [note.get("path") for note in notes] != [jtu.keystr(p) for p, _ in leaves]:
        raise _other_run(path, "a state of another structure")
    result = []
    for i, (note, (_, leaf)) in enumerate(zip(notes, leaves, strict=True)):
        found, wanted = _kind(note), _kind_of(leaf)
        if found != wanted:
            why = f"{found} at `{note['path']}`, where this run has {wanted}"
            raise _other_run(path, why)
        try:
            result.append(_restore(note, members.get(f"arrays/{i}"), leaf))
        except (KeyError, TypeError) as error:
            raise corrupt(path) from error
    return header, jtu.tree_unflatten(structure, result)


def read_leaves(path: Path, fingerprint: str) -> tuple[dict[str, Any], list[Any]]:
    """Reads a state of which only the file knows how large it is.

    **Arguments:**

    - `path`: the name of the file.
    - `fingerprint`: what the header has to say.

    **Returns:** the header, and the leaves of the tree in order, `None` for those that
    are no numbers.

    **Raises:** `ValueError` as `read`.
    """
    header, notes, members = _open(path)
    _check_run(path, header, fingerprint)
    try:
        leaves = [
            _restore(note, members.get(f"arrays/{i}"), None)
            for i, note in enumerate(notes)
        ]
    except (KeyError, TypeError) as error:
        raise corrupt(path) from error
    return header, leaves


def _check_run(path: Path, header: dict[str, Any], fingerprint: str) -> None:
    if header.get("fingerprint") != fingerprint:
        raise _other_run(path, "another problem, field or setting")


def _open(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, bytes]]:
    header, members = read_archive(path, _KIND)
    try:
        return dict(header["user"]), [dict(note) for note in header["leaves"]], members
    except (KeyError, TypeError, ValueError) as error:
        raise corrupt(path) from error


def _restore(note: dict[str, Any], content: bytes | None, like: Any) -> Any:
    if note["of"] == "other":
        return like
    if note["of"] == "complex":
        return complex(*note["value"])
    if "value" in note:
        return note["value"]
    if content is None:
        raise KeyError(note["path"])
    array = unpack(note, content)
    if isinstance(like, np.generic):
        return array[()]
    if isinstance(like, jax.Array) and array.sharding != like.sharding:
        return jax.device_put(array, like.sharding)
    return array


def _kind(note: dict[str, Any]) -> str:
    """In words: what was saved."""
    if "shape" not in note:
        return _WORDS[note["of"]]
    if note["of"] == "key":
        return f"random keys {note['impl']}{tuple(note['shape'])[:-1]}"
    return f"{note['dtype']}{tuple(note['shape'])}"


def _kind_of(leaf: Any) -> str:
    """In words: what is expected."""
    if is_key(leaf):
        return f"random keys {jax.random.key_impl(leaf)}{leaf.shape}"
    if isinstance(leaf, bool | int | float | complex) and not isinstance(
        leaf, np.generic
    ):
        return _WORDS[type(leaf).__name__]
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return f"{np.dtype(leaf.dtype).name}{tuple(leaf.shape)}"
    return _WORDS["other"]


_WORDS = {
    "other": "what is not a number",
    "bool": "a bool",
    "int": "an int",
    "float": "a float",
    "complex": "a complex number",
}


def _other_run(path: Path, why: str) -> ValueError:
    return ValueError(
        f"'{path}' is a foreign checkpoint: it holds {why}. Delete it, or give another "
        "file with `checkpoint=`."
    )
