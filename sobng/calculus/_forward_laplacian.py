r"""The forward Laplacian: value, gradient and Laplacian in one sweep.

Each intermediate value $v$ of the function is carried with its derivatives in all
directions $v_i$ and with the sum of its second derivatives $\sum_i v_{ii}$. Through
$w = f(v)$,

$$w_i = Df\,v_i, \qquad \sum_i w_{ii} = Df \sum_i v_{ii} + \sum_i D^2 f(v_i, v_i),$$

so that the sum needs one linear map instead of one a direction, and nothing but sums of
squares is left of $D^2 f$ for elementwise functions.

??? cite "Reference"

    Li et al.: A computational framework for neural network-based variational Monte
    Carlo with forward Laplacian (Nature Machine Intelligence 2024, arXiv 2307.08214).
    We interpret the jaxpr as `folx` does, without its sparsity; `folx` 0.2.30 itself
    fails under `jax_numpy_rank_promotion="raise"`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array


class _Carried(NamedTuple):
    value: Array
    first: Array  # [directions, *value.shape]
    second: Array | None  # None where it is known to vanish


# Primitives that are linear in all operands together.
_LINEAR = {
    *("add", "add_any", "sub", "neg", "real", "imag", "convert_element_type"),
    *("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "rev"),
    *("concatenate", "split", "slice", "pad", "reduce_sum", "cumsum"),
    *("copy", "copy_p", "optimization_barrier"),
}
# Primitives that are linear in some operands, where only those depend on the point.
_LINEAR_IN = {
    "mul": ({0}, {1}),
    "div": ({0},),
    "dot_general": ({0}, {1}),
    "gather": ({0},),
    "dynamic_slice": ({0},),
    "select_n": None,  # in all but the predicate, which never carries derivatives
    "scatter": ({0}, {2}, {0, 2}),
    "scatter-add": ({0}, {2}, {0, 2}),
    "scatter_add": ({0}, {2}, {0, 2}),
    "dynamic_update_slice": ({0}, {1}, {0, 1}),
    "conv_general_dilated": ({0}, {1}),
}
_BILINEAR = {"mul", "dot_general"}
# Elementwise functions of one operand; `pow` and `div` only where one operand depends.
_ELEMENTWISE = {
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("asinh", "acosh", "atanh", "exp", "exp2", "expm1", "log", "log1p", "logistic"),
    *("sqrt", "rsqrt", "cbrt", "square", "integer_pow", "pow", "div", "erf", "erfc"),
    *("lgamma", "digamma", "abs", "sign", "max", "min"),
}
_CALLS = {"pjit", "jit", "closed_call", "core_call"}


def forward_laplacian(
    u: Callable[[Array], Array], x: Array, directions: Array
) -> tuple[Array, Array, Array]:
    """`u`, its derivatives along the rows of `directions`, the sum of its second ones.

    **Returns:** shapes `[*out]`, `[directions, *out]` and `[*out]`.
    """
    jaxpr = jax.make_jaxpr(u)(x)
    (y,) = _interpret(jaxpr, [_Carried(x, directions, None)])
    if not isinstance(y, _Carried):
        y = jnp.asarray(y)
        y = _Carried(y, jnp.zeros((len(directions), *y.shape), y.dtype), None)
    second = jnp.zeros_like(y.value) if y.second is None else y.second
    return y.value, y.first, second


def _interpret(closed: jex.ClosedJaxpr, inputs: list) -> list:
    jaxpr = closed.jaxpr
    environment: dict[Any, Any] = dict(
        zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *inputs), strict=True)
    )

    def read(atom):
        return atom.val if isinstance(atom, jex.Literal) else environment[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        results = _apply(equation, operands)
        environment.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, operands: list) -> list:
    """The results of one equation, as a list."""
    name = equation.primitive.name
    carried = [i for i, operand in enumerate(operands) if isinstance(operand, _Carried)]
    if carried and name in _CALLS:
        inner = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"]
        return _interpret(inner, operands)

    # A dictionary from jax 0.10 on, with functions apart from it before.
    bound = equation.primitive.get_bind_params(equation.params)
    subfunctions, parameters = bound if isinstance(bound, tuple) else ((), bound)

    def call(*varying):
        """All results as a function of the operands that depend on the point."""
        filled = list(operands)
        for i, operand in zip(carried, varying, strict=True):
            filled[i] = operand
        results = equation.primitive.bind(*subfunctions, *filled, **parameters)
        return tuple(results) if equation.primitive.multiple_results else (results,)

    if not carried:
        return list(call())
    values = tuple(operands[i].value for i in carried)
    firsts = tuple(operands[i].first for i in carried)
    seconds = tuple(operands[i].second for i in carried)

    same_shape = all(v.aval.shape == values[0].shape for v in equation.outvars)
    if name in _ELEMENTWISE and len(carried) == 1 and same_shape and _real(equation):
        return [_elementwise(lambda v: call(v)[0], values[0], firsts[0], seconds[0])]

    outputs = call(*values)
    smooth = [jnp.issubdtype(output.dtype, jnp.inexact) for output in outputs]

    def differentiable(*varying):
        return tuple(y for y, keep in zip(call(*varying), smooth, strict=True) if keep)

    parts = iter(_chain(name, set(carried), differentiable, values, firsts, seconds))
    return [
        _Carried(output, *next(parts)) if keep else output
        for output, keep in zip(outputs, smooth, strict=True)
    ]


def _chain(
    name: str,
    carried: set[int],
    call: Callable,
    values: tuple,
    firsts: tuple,
    seconds: tuple,
) -> list[tuple]:
    """First and summed second derivatives of each result, by the chain rule."""

    def push(*tangents):
        return jax.jvp(call, values, tangents)[1]

    first = jax.vmap(push)(*firsts)
    second = [None] * len(first)
    if any(s is not None for s in seconds):
        filled = (
            jnp.zeros_like(v) if s is None else s
            for v, s in zip(values, seconds, strict=True)
        )
        second = list(push(*filled))
    if not _is_linear(name, carried):
        curvature = _curvature(name, call, values, firsts)
        second = [
            c if s is None else s + c for s, c in zip(second, curvature, strict=True)
        ]
    return list(zip(first, second, strict=True))


def _real(equation: Any) -> bool:
    # Its operands, too: the absolute value of a complex one is real.
    def are(atoms, kind):
        return [jnp.issubdtype(a.aval.dtype, kind) for a in atoms]

    mixed = any(are(equation.invars, jnp.complexfloating))
    return not mixed and all(are(equation.outvars, jnp.floating))


def _is_linear(name: str, carried: set[int]) -> bool:
    if name in _LINEAR:
        return True
    if name not in _LINEAR_IN:
        return False
    allowed = _LINEAR_IN[name]
    return allowed is None or carried in allowed


def _elementwise(
    f: Callable, value: Array, first: Array, second: Array | None
) -> _Carried:
    def slope(v):
        return jax.jvp(f, (v,), (jnp.ones_like(v),))

    (output, derivative), (_, curvature) = jax.jvp(
        slope, (value,), (jnp.ones_like(value),)
    )
    total = curvature * jnp.sum(first * first, axis=0)
    if second is not None:
        total = total + derivative * second
    return _Carried(output, derivative[None] * first, total)


def _curvature(name: str, call: Callable, values: tuple, firsts: tuple) -> tuple:
    """`D^2 f(v_i, v_i)`, summed over the directions."""
    if name in _BILINEAR:
        return tuple(2 * jnp.sum(a, axis=0) for a in jax.vmap(call)(*firsts))

    def second(*tangents):
        def push(*v):
            return jax.jvp(call, v, tangents)[1]

        return jax.jvp(push, values, tangents)[1]

    return tuple(jnp.sum(a, axis=0) for a in jax.vmap(second)(*firsts))
