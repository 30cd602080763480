"""What a run needs to go on where it was killed."""

import dataclasses
import hashlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sobng.io.checkpoint import Checkpoint, fingerprint, read, read_header, write
from sobng.records import Record


@dataclasses.dataclass(frozen=True)
class Done:
    """A stage that was entered."""

    number: int
    name: str
    error: float | None
    reason: str
    """The estimate when it was entered."""
    sizes: tuple[int, int]
    """Parameters and rows of the stage before it."""
    kept: bool = True
    """Whether what it found was better than what was there."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """The plain data of a checkpoint; arrays come from `Resumer.arrays`."""

    stage: int
    step: int
    estimated: int
    begun: int
    level: float | int
    drawn: int
    score: float | None
    error: float | None
    reason: str
    best_loss: float
    seconds: float
    compile_seconds: float
    done: tuple[Done, ...]
    marks: tuple[tuple[int, float], ...]
    records: tuple[Record, ...]


class Resumer:
    """Writes the state of a run every so many steps, and reads it back once."""

    def __init__(self, checkpoint: Checkpoint | None, *identity: Any):
        """**Arguments:**

        - `checkpoint`: where; `None` for nowhere.
        - `identity`: what makes a run this run: arrays and things that print alike.

        **Raises:** `ValueError` if the file is there and belongs to another run.
        """
        self.checkpoint = checkpoint
        self.saved: Saved | None = None
        self._last = 0
        if checkpoint is None:
            return
        self._fingerprint = fingerprint(*(digest(part) for part in identity))
        if os.path.exists(checkpoint.path):
            header = read_header(checkpoint.path)
            if header.get("fingerprint") != self._fingerprint:
                read(checkpoint.path, None, self._fingerprint)
            values = dict(header["run"])
            values["marks"] = tuple((int(a), float(b)) for a, b in values["marks"])
            # JSON knows no tuples.
            done = [{**d, "sizes": tuple(d["sizes"])} for d in values["done"]]
            values["done"] = tuple(Done(**d) for d in done)
            values["records"] = tuple(Record(**r) for r in values["records"])
            self.saved = Saved(**values)
            self._last = self.saved.step

    def arrays(self, like: PyTree) -> PyTree:
        """The arrays of the checkpoint, in the structure of `like`."""
        assert self.checkpoint is not None
        return read(self.checkpoint.path, like, self._fingerprint)[1]

    def due(self, step: int) -> bool:
        """Whether it is time to write."""
        return (
            self.checkpoint is not None and step - self._last >= self.checkpoint.every
        )

    def write(self, saved: Saved, arrays: PyTree) -> None:
        """Replaces the file once the new one is complete."""
        assert self.checkpoint is not None
        run = dataclasses.asdict(saved)
        header = {"fingerprint": self._fingerprint, "run": run}
        write(self.checkpoint.path, header, arrays)
        self._last = saved.step


def digest(part: Any) -> str:
    """A text for a PyTree that differs when one of its leaves does."""
    leaves, _ = jax.tree.flatten(part)
    texts = []
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        ):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array | np.ndarray):
            array = np.asarray(leaf)
            content = hashlib.sha256(array.tobytes()).hexdigest()
            texts.append(f"{array.dtype}{array.shape}{content}")
        elif callable(leaf):
            texts.append(getattr(leaf, "__qualname__", type(leaf).__name__))
        else:
            texts.append(repr(leaf))
    return "\n".join(texts)
