"""Fields and what is known about them, to one file and back without the script."""

from typing import Any

import jax
import jax.numpy as jnp

from sobng.io.archive import corrupt, Path, read_archive, write_archive
from sobng.io.tree import read_tree, Writer


def save_tree(path: Path, tree: Any, *, kind: str, dim: int | None = None) -> None:
    """Writes a tree of fields, domains, arrays and plain data as one file.

    Modules of sobng are saved by the name of their class, configuration and arrays;
    other callables are exported as functions of one point.

    **Arguments:**

    - `path`: the name of the file, which is replaced when the new one is complete.
    - `tree`: dicts, tuples and lists of these.
    - `kind`: what it is, in one word; `load_tree` asks for it.
    - `dim`: coordinates of a point, for functions that do not say.

    **Raises:** `ValueError` if something cannot be saved or the file not be written.
    """
    arrays = [a for a in jax.tree.leaves(tree) if isinstance(a, jax.Array)]
    dtypes = [a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)]
    dtype = jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)
    writer = Writer(dim, dtype)
    node = writer.write(tree)
    header = {"dtype": jnp.dtype(dtype).name, "tree": node}
    write_archive(path, kind, header, writer.members)


def load_tree(path: Path, *, kind: str) -> Any:
    """Reads what `save_tree` wrote.

    **Raises:** `ValueError` if the file is absent, corrupt, foreign, too new, of
    another kind, or holds more digits than this session keeps.
    """
    header, members = read_archive(path, kind)
    try:
        return read_tree(header["tree"], members)
    except (KeyError, TypeError, AttributeError) as error:
        raise corrupt(path) from error
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read: {error}") from error
