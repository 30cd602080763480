"""PyTrees of our own classes as plain data and bytes, and back. Never pickle."""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.io.arrays import check_precision, pack, unpack
from sobng.io.exported import export_function, Exported
from sobng.io.names import (
    find_class,
    find_method,
    FUNCTIONS,
    is_ours,
    name_of_function,
)


_PLAIN = (bool, int, float, str)
_NUM_PROBES = 3


class _ForeignError(Exception):
    """Something that has no name in sobng; whoever is around it may be exported."""


class Writer:
    """Turns a tree into plain data for JSON, and collects the bytes of its arrays."""

    def __init__(self, dim: int | None, dtype: Any):
        """**Arguments:**

        - `dim`: coordinates of a point, for functions that do not say.
        - `dtype`: the precision in which functions without arrays are exported.
        """
        self.members: dict[str, bytes] = {}
        self._dim = dim
        self._dtype = dtype
        self._num_exported = 0

    def write(self, tree: Any) -> Any:
        """The plain data of a tree.

        **Raises:** `ValueError` if something in it is neither ours nor a function.
        """
        try:
            return self._node(tree, self._dim, "field")
        except _ForeignError as error:
            raise ValueError(
                f"A {error} cannot be saved: it is neither an array, nor one of "
                "sobng's, nor a function of one point. Leave it out."
            ) from None

    def _node(self, value: Any, dim: int | None, role: str) -> Any:
        """Plain data; what has no name becomes a function of a point, if it may be one.

        `role` is `field` for what is a function of a point (and is checked to be),
        `part` for what is one if it is callable, and `static` for what is none, as the
        activation of a network.
        """
        if role == "field" and callable(value):
            return self._field(value, dim)
        num_members = len(self.members)
        try:
            return self._named(value, dim, role)
        except _ForeignError:
            if role == "static" or not callable(value):
                raise
            self._forget(num_members)
            return self._export(value, dim)

    def _named(self, value: Any, dim: int | None, role: str) -> Any:
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            note, content = pack(value)
            scalar = {"scalar": True} if isinstance(value, np.generic) else {}
            return {"array": self._member(content), **note, **scalar}
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, bytes):
            return {"bytes": self._member(value)}
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if type(value) in (list, tuple):
            items = [self._node(item, dim, role) for item in value]
            return {type(value).__name__: items}
        if type(value) is dict:
            pairs = value.items()
            items = [
                [self._node(k, dim, "static"), self._node(v, dim, role)]
                for k, v in pairs
            ]
            return {"dict": items}
        if is_ours(value):
            return self._module(value, dim)
        return self._named_function(value, dim)

    def _named_function(self, value: Any, dim: int | None) -> dict[str, Any]:
        name = name_of_function(value)
        if name is not None:
            return {"function": name}
        if isinstance(value, functools.partial) and name_of_function(value.func):
            return {
                "partial": name_of_function(value.func),
                "args": [self._node(a, dim, "static") for a in value.args],
                "keywords": {
                    k: self._node(v, dim, "static") for k, v in value.keywords.items()
                },
            }
        owner: Any = getattr(value, "__self__", None)
        if is_ours(owner) and isinstance(value, types.MethodType | eqx.Module):
            name = value.__name__  # pyright: ignore[reportAttributeAccessIssue]
            return {"method": name, "self": self._module(owner, dim)}
        raise _ForeignError(type(value).__name__)

    def _module(self, value: eqx.Module, dim: int | None) -> dict[str, Any]:
        cls = type(value)
        own = getattr(value, "dim", None)
        dim = own if isinstance(own, int) else dim
        fields = {}
        for field in dataclasses.fields(value):
            if not hasattr(value, field.name):
                continue
            role = "static" if field.metadata.get("static", False) else "part"
            part = getattr(value, field.name)
            fields[field.name] = self._node(part, dim, role)
        return {"module": cls.__module__, "class": cls.__qualname__, "fields": fields}

    def _field(self, value: Callable, dim: int | None) -> Any:
        """A field: by its parts if that gives the same values, else as a whole."""
        num_members, num_exported = len(self.members), self._num_exported
        own = getattr(value, "dim", None)
        dim = own if isinstance(own, int) else dim
        try:
            node = self._node(value, dim, "part")
            if self._num_exported == num_exported or self._is_faithful(
                value, node, dim
            ):
                return node
        except (_ForeignError, ValueError):
            pass
        self._forget(num_members)
        return self._export(value, dim)

    def _forget(self, num_members: int) -> None:
        """Drops the members after the first few."""
        for name in list(self.members)[num_members:]:
            del self.members[name]

    def _export(self, value: Callable, dim: int | None) -> dict[str, Any]:
        if dim is None:
            raise ValueError(
                f"`{type(value).__name__}` is not one of sobng's, and is exported as a "
                "function of one point. Got no `dim`. Give the module an attribute "
                "`dim`, or the solution a domain."
            )
        self._num_exported += 1
        dtypes = [a.dtype for a in jax.tree.leaves(value) if eqx.is_inexact_array(a)]
        dtype = jnp.result_type(*dtypes) if dtypes else self._dtype
        return self._module(export_function(value, dim, dtype), dim)

    def _is_faithful(self, value: Callable, node: Any, dim: int | None) -> bool:
        """Whether the parts that were exported were what they were taken for."""
        if dim is None:
            return False
        unit = np.random.default_rng(0).random((_NUM_PROBES, dim))
        points = jnp.asarray(unit, self._dtype)
        try:
            found = jax.vmap(read_tree(node, self.members))(points)
        except (ValueError, TypeError):
            return False
        wanted = jax.vmap(value)(points)
        # Fused otherwise in the two programs: a few roundings, not more.
        rtol = 1e3 * float(jnp.finfo(self._dtype).eps)
        return np.allclose(found, wanted, rtol, rtol, equal_nan=True)

    def _member(self, content: bytes) -> str:
        name = f"members/{len(self.members)}"
        self.members[name] = content
        return name


def read_tree(node: Any, members: dict[str, bytes]) -> Any:
    """The inverse of `Writer.write`.

    **Raises:** `ValueError`, `KeyError` or `TypeError` if the data are damaged.
    """
    if node is None or isinstance(node, _PLAIN):
        return node

    def read(inner):
        return read_tree(inner, members)

    if "module" in node:
        return _module(node, read)
    if "array" in node:
        array = unpack(node, members[node["array"]])
        return array[()] if node.get("scalar") else array
    if "dict" in node:
        return {read(key): read(value) for key, value in node["dict"]}
    if "tuple" in node:
        return tuple(map(read, node["tuple"]))
    if "list" in node:
        return list(map(read, node["list"]))
    if "method" in node:
        return find_method(read(node["self"]), node["method"])
    return _leaf(node, members, read)


def _leaf(node: dict[str, Any], members: dict[str, bytes], read: Callable) -> Any:
    if "function" in node:
        return FUNCTIONS[node["function"]]
    if "partial" in node:
        keywords = {name: read(value) for name, value in node["keywords"].items()}
        args = map(read, node["args"])
        return functools.partial(FUNCTIONS[node["partial"]], *args, **keywords)
    if "bytes" in node:
        return members[node["bytes"]]
    if "complex" in node:
        return complex(*node["complex"])
    if "dtype" in node:
        return np.dtype(node["dtype"])
    raise ValueError(f"it holds an entry of an unknown kind, {sorted(node)}")


def _module(node: dict[str, Any], read: Callable) -> eqx.Module:
    cls = find_class(node["module"], node["class"])
    names = {field.name for field in dataclasses.fields(cls)}
    if not set(node["fields"]) <= names:
        raise ValueError(f"its `{cls.__name__}` is of another version of sobng")
    # Not through `__init__`, which would draw weights: as Equinox itself unflattens.
    module = object.__new__(cls)
    for name, value in node["fields"].items():
        object.__setattr__(module, name, read(value))
    if isinstance(module, Exported):
        check_precision(module.dtype)
    return module
