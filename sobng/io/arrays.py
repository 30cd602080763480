"""Arrays of any dtype as bytes, and back, bit for bit."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np


def is_key(value: Any) -> bool:
    """Whether this is a (new-style) JAX random key."""
    return isinstance(value, jax.Array) and jnp.issubdtype(
        value.dtype, jax.dtypes.prng_key
    )


def pack(value: Any) -> tuple[dict[str, Any], bytes]:
    """A JAX or NumPy array, or a JAX random key, as plain data and bytes."""
    note: dict[str, Any] = {"of": "jax" if isinstance(value, jax.Array) else "numpy"}
    if is_key(value):
        note = {"of": "key", "impl": str(jr.key_impl(value))}
        value = jr.key_data(value)
    elif getattr(value, "weak_type", False):
        note["weak"] = True
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise ValueError(
            "An array of Python objects cannot be saved. Got one of shape "
            f"{array.shape}. Save numbers."
        )
    order = array.dtype.newbyteorder("<")
    note |= {"shape": list(array.shape), "dtype": array.dtype.name}
    if array.dtype.kind in "SUMm":  # strings and times: the name says too little
        note["dtype"] = order.str
    return note, array.astype(order, copy=False).tobytes()


def unpack(note: dict[str, Any], content: bytes) -> Any:
    """The inverse of `pack`.

    **Raises:** `ValueError` if the bytes do not fit, or if the session's precision
    would round them.
    """
    dtype = _dtype(note["dtype"])
    shape = tuple(note["shape"])
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} has {len(content)} bytes")
    stored = np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape)
    array = stored.astype(dtype)  # native, and a copy that may be written to
    if note["of"] == "numpy":
        return array
    check_precision(array.dtype)
    if note["of"] == "key":
        return jr.wrap_key_data(jnp.asarray(array), impl=note["impl"])
    result = jnp.asarray(array)
    return _weakened(result) if note.get("weak") else result


def check_precision(dtype: Any) -> None:
    """**Raises:** `ValueError` if JAX would round arrays of this dtype now."""
    if np.dtype(dtype).name in _WIDE and jnp.result_type(float) != np.float64:
        raise ValueError(
            f"The file holds numbers in {np.dtype(dtype).name}, which this session "
            "would round. Call `sobng.enable_x64()` first."
        )


_WIDE = ("float64", "complex128", "int64", "uint64")


def _dtype(name: str) -> np.dtype:
    # The names of bfloat16 and the small floats are known to JAX, not to NumPy.
    return np.dtype(getattr(jnp, name, name) if name.isidentifier() else name)


def _weakened(array: jax.Array) -> jax.Array:
    """Of weak type, as Python numbers are: else a resumed run would compile again."""
    if array.shape != ():
        return array
    weak = jnp.asarray(array.item())
    return weak if weak.dtype == array.dtype else array
