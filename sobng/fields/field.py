"""What every neural field offers."""

import abc
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.typing import Point, Value


class AbstractField(eqx.Module):
    """A function of one point with trainable arrays.

    Maps a point of shape `(dim,)` to a scalar of shape `()` if `out` is `None`, else to
    a vector of shape `(out,)`. Many points are evaluated with
    `jax.vmap(field)(points)`. Arrays that must not be trained sit in a
    [`sobng.Frozen`][]. Fields hold no closures but the functions that a user passes in.
    """

    dim: eqx.AbstractVar[int]
    out: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def __call__(self, x: Point) -> Value:
        """The value at one point.

        **Arguments:**

        - `x`: a point of shape `(dim,)`.

        **Returns:** shape `()` if `out` is `None`, else `(out,)`.
        """

    @abc.abstractmethod
    def linear_leaves(self) -> PyTree[bool]:
        """Marks the leaves in which the value is affine, all of them together.

        **Returns:** a PyTree like the field, with a bool for each leaf.
        """


Node = TypeVar("Node")


def first_of(unknown: PyTree, kind: type[Node]) -> Node | None:
    """The first node of a kind in an unknown, `None` if there is none."""
    nodes = jax.tree.leaves(unknown, is_leaf=lambda node: isinstance(node, kind))
    return next((node for node in nodes if isinstance(node, kind)), None)


def check_sizes(name: str, **sizes: int) -> None:
    """Refuse sizes that are not positive integers."""
    for key, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(
                f"`{name}` needs a positive integer `{key}`. Got `{size!r}`. Counts of "
                "coordinates, neurons and layers start at one."
            )


def check_out(name: str, out: int | None) -> None:
    """Refuse a number of components that is neither `None` nor positive."""
    if out is not None:
        check_sizes(name, out=out)


def sizes_of(
    name: str, field: Callable, dim: int | None = None, out: int | None = None
) -> tuple[int, int | None]:
    """`dim` and `out` of any callable; the latter by tracing where nobody says it."""
    if isinstance(field, AbstractField):
        return field.dim, field.out
    dim = getattr(field, "dim", None) if dim is None else dim
    if dim is None:
        raise ValueError(
            f"`{name}` cannot tell how many coordinates `{type(field).__name__}` "
            "takes. Got no `dim`. Pass `dim=` along with a field that is not one of "
            "sobng's."
        )
    if out is not None:
        return dim, out
    point = jax.ShapeDtypeStruct((dim,), jnp.result_type(float))
    shape = eqx.filter_eval_shape(field, point).shape
    if len(shape) > 1:
        raise ValueError(
            f"`{name}` needs a field with values of shape `()` or `(out,)`. Got shape "
            f"`{shape}`. Flatten the values."
        )
    return dim, (shape[0] if shape else None)


def sizes_on(name: str, field: Callable, num: int, what: str) -> tuple[int, int | None]:
    """`dim` and `out` of a field behind coordinates of `what`, which are `num`."""
    dim, out = sizes_of(name, field, num)
    if dim != num:
        raise ValueError(
            f"`{name}` got a field of points with {dim} coordinates, and {what} with "
            f"{num}. Give all coordinates to both, time included."
        )
    return dim, out


def mark(module: Any, where: Callable[[Any], Any], flags: Any) -> PyTree[bool]:
    """A PyTree like `module` with `flags` at `where` and `False` elsewhere."""
    blank = jax.tree.map(lambda _: False, module)
    return eqx.tree_at(where, blank, flags)


def as_float(value: Any, dtype: Any = None) -> Float[Array, "..."]:
    """An array of floats in the given precision, else in the session's."""
    return jnp.asarray(value, dtype=jnp.result_type(float) if dtype is None else dtype)
