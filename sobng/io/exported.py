"""Functions of one point as compiled programs: what has no name in sobng."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.fields.field import AbstractField
from sobng.fields.partition import Frozen
from sobng.typing import Point, Value


ORDER = 4
"""The highest derivative that is exported along, in up to three dimensions."""
HIGH_DIM_ORDER = 2
"""The same beyond, where all mixed derivatives are many."""
_PLATFORMS = ("cpu", "cuda")


class Exported(AbstractField):
    """A function of one point that was exported, as comes back from a file.

    Its values are those of the original, by the same program; its parameters are fixed.
    Derivatives in the point are programs too, in any mix of forward and reverse mode,
    up to fourth order in at most three dimensions and to second beyond.
    """

    arrays: Frozen  # a tuple: the arrays of the original
    programs: tuple[bytes, ...] = eqx.field(static=True)  # value, first derivative, ..
    dim: int = eqx.field(static=True)
    out: int | None = eqx.field(static=True)
    dtype: str = eqx.field(static=True)

    def __call__(self, x: Point) -> Value:
        if x.shape != (self.dim,):
            raise ValueError(
                f"An exported function takes points of shape ({self.dim},). Got "
                f"{x.shape}. Evaluate many points with `jax.vmap`."
            )
        value = _derivative(self.programs, self.arrays.value, x.astype(self.dtype))
        return value.astype(x.dtype)

    def linear_leaves(self) -> PyTree[bool]:
        return jax.tree.map(lambda _: False, self)


def export_function(function: Callable, dim: int, dtype: Any) -> Exported:
    """Compiles a function of one point, with its derivatives, for any machine.

    **Arguments:**

    - `function`: any callable; the arrays of a module stay apart from its program.
    - `dim`: coordinates of a point.
    - `dtype`: the precision of the point.

    **Raises:** `ValueError` if JAX cannot trace or export it.
    """
    leaves, rest = eqx.partition(function, eqx.is_array)
    arrays, structure = jax.tree.flatten(leaves)

    def value(arrays, x):
        whole = eqx.combine(jax.tree.unflatten(structure, arrays), rest)
        y = jnp.asarray(whole(x))
        return y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(x.dtype)

    arrays = tuple(jnp.asarray(a) for a in arrays)
    try:
        shape = jax.eval_shape(value, arrays, jax.ShapeDtypeStruct((dim,), dtype)).shape
        if len(shape) > 1:
            raise ValueError(f"its values have shape {shape}, not () or (out,)")
        programs = [_program(value, arrays, dim, dtype)]
    except Exception as error:  # whatever a user's function raises
        raise _unusable(function, error) from error
    for _ in range(ORDER if dim <= 3 else HIGH_DIM_ORDER):
        value = jax.jacfwd(value, argnums=1)
        try:
            programs.append(_program(value, arrays, dim, dtype))
        except Exception:  # not differentiable so often: keep what there is
            break
    out = shape[0] if shape else None
    return Exported(
        arrays=Frozen(arrays),
        programs=tuple(programs),
        dim=dim,
        out=out,
        dtype=jnp.dtype(dtype).name,
    )


def _unusable(function: Callable, error: Exception) -> ValueError:
    if isinstance(error, ImportError):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    name = getattr(function, "__name__", type(function).__name__)
    return ValueError(
        f"`{name}` is not one of sobng's and cannot be exported as a function of one "
        f"point ({reason}). Write it in JAX, as a map of a point to a scalar or a "
        "vector."
    )


def _program(function: Callable, arrays: tuple, dim: int, dtype: Any) -> bytes:
    (num,) = jax.export.symbolic_shape("n")
    points = jax.ShapeDtypeStruct((num, dim), dtype)
    many = jax.jit(jax.vmap(function, in_axes=(None, 0)))
    try:
        exported = jax.export.export(many, platforms=_PLATFORMS)(arrays, points)
    except (NotImplementedError, ValueError):
        # Lowered for other machines it may lack a kernel; this one is what we have.
        exported = jax.export.export(many)(arrays, points)
    return bytes(exported.serialize())


@functools.lru_cache(maxsize=256)
def _deserialised(program: bytes) -> jax.export.Exported:
    return jax.export.deserialize(bytearray(program))


def _rows(program: bytes, arrays: tuple, points: Float[Array, "n dim"]) -> Array:
    """Runs a program at many points. Under `vmap` there are just more points."""

    @jax.custom_batching.custom_vmap
    def run(arrays, points):
        return _deserialised(program).call(arrays, points)

    @run.def_vmap
    def _(size, batched, arrays, points):
        if any(jax.tree.leaves(batched[0])):
            # Several sets of arrays: the program takes one at a time.
            axes = jax.tree.map(lambda b: 0 if b else None, batched)
            whole = _repeat(size, (arrays, points), axes)
            return jax.lax.map(lambda pair: _rows(program, *pair), whole), True
        flat = points.reshape(-1, points.shape[-1])
        found = _rows(program, arrays, flat)
        return found.reshape(size, points.shape[1], *found.shape[1:]), True

    return run(arrays, points)


def _repeat(size: int, tree: PyTree, axes: PyTree) -> PyTree:
    def one(leaf, axis):
        return leaf if axis == 0 else jnp.broadcast_to(leaf, (size, *leaf.shape))

    leaves, structure = jax.tree.flatten(tree)
    flat = jax.tree.leaves(axes, is_leaf=lambda axis: axis is None)
    return jax.tree.unflatten(structure, list(map(one, leaves, flat)))


def _derivative(programs: tuple[bytes, ...], arrays: tuple, x: Point) -> Array:
    """The first of the programs at one point; the next one is its derivative."""

    @jax.custom_jvp
    def value(arrays, x):
        return _rows(programs[0], arrays, x[None])[0]

    @value.defjvp
    def _(primals, tangents):
        arrays, x = primals
        if len(programs) == 1:
            raise ValueError(
                "An exported function has no derivatives of this order. It has up to "
                f"{ORDER} in at most three dimensions and {HIGH_DIM_ORDER} beyond, "
                "where the original has them. Rebuild the field from its script."
            )
        slope = _derivative(programs[1:], arrays, x)
        return value(arrays, x), jnp.tensordot(slope, tangents[1], axes=1)

    return value(jax.lax.stop_gradient(arrays), x)
