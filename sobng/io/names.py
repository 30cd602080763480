"""The only classes and functions that a file may name."""

import importlib
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from sobng.fields.sine import sine


_MODULE = re.compile(r"sobng(\.[A-Za-z_][A-Za-z0-9_]*)+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*|_[A-Za-z0-9][A-Za-z0-9_]*")

_NUMPY = (
    *("abs", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt"),
    *("cos", "cosh", "exp", "exp2", "expm1", "log", "log1p", "negative", "sign", "sin"),
    *("sinc", "sinh", "sqrt", "square", "tan", "tanh"),
)
_NN = (
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("identity", "leaky_relu", "log_sigmoid", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "soft_sign", "softplus", "sparse_plus", "squareplus", "swish"),
)
_LAX = ("cos", "erf", "exp", "logistic", "rsqrt", "sin", "sqrt", "tanh")


def _table() -> dict[str, Callable]:
    spaces = (("jnp", jnp, _NUMPY), ("jax.nn", jax.nn, _NN), ("lax", jax.lax, _LAX))
    known = {
        f"{prefix}.{name}": getattr(space, name)
        for prefix, space, names in spaces
        for name in names
        if hasattr(space, name)
    }
    return {**known, "sobng.sine": sine}


FUNCTIONS = _table()
"""Activations and other elementwise functions, by name."""


def name_of_function(value: Any) -> str | None:
    """The name of a known function; `None` for any other."""
    return next((name for name, known in FUNCTIONS.items() if known is value), None)


def is_ours(value: Any) -> bool:
    """Whether this is a module that `find_class` finds again."""
    cls = type(value)
    if not isinstance(value, eqx.Module) or not _MODULE.fullmatch(cls.__module__):
        return False
    try:
        return find_class(cls.__module__, cls.__qualname__) is cls
    except ValueError:
        return False


def find_class(module: str, name: str) -> type[eqx.Module]:
    """A final module class of sobng.

    **Raises:** `ValueError` for every other name: a file must not reach further.
    """
    if not (_MODULE.fullmatch(str(module)) and _NAME.fullmatch(str(name))):
        raise ValueError(f"it names `{module}.{name}`, which is no class of sobng")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        found = None
    # Not what the module merely imported.
    if isinstance(found, type) and issubclass(found, eqx.Module):  # noqa: SIM102
        if found.__module__ == module:
            return found
    raise ValueError(f"it names `{module}.{name}`, which this sobng does not have")


def find_method(owner: Any, name: str) -> Callable:
    """A method of one of our modules."""
    method = getattr(type(owner), str(name), None)
    if not (is_ours(owner) and _NAME.fullmatch(str(name)) and callable(method)):
        raise ValueError(
            f"it names a method `{name}` that `{type(owner).__name__}` does not have"
        )
    return getattr(owner, name)
