r"""The derivative of a function in its matrices, as sums of outer products.

A network holds its parameters in matrices and uses each by products alone, $y = W v$: with
the value, and again with every derivative in $x$ that is pushed through the layer. With the
cotangents $\bar y_c$ of these products,

$$\frac{\partial f}{\partial W} = \sum_c \bar y_c\, v_c^T,$$

which is `channels * (height + width)` numbers instead of `height * width`.

??? cite "Reference"

    Dangel, Müller, Zeinhofer: Kronecker-factored approximate curvature for
    physics-informed neural networks (NeurIPS 2024, arXiv 2405.15603) see a differential
    operator as a network with shared weights. We differ in: the products are found in the
    jaxpr, so that no layer needs to be known.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.extend.core as jex
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


_CALLS = {
    **dict.fromkeys(("pjit", "jit", "closed_call", "remat2", "checkpoint"), "jaxpr"),
    **dict.fromkeys(("core_call", "custom_jvp_call"), "call_jaxpr"),
}


class OuterProducts(eqx.Module):
    """Rows of a derivative: sums of outer products for some leaves, the others in full.

    For a matrix it is `row[a, b] = sum(left[:, a] * right[:, b])` over the channels.
    """

    left: tuple[Float[Array, "rows _ _"], ...]
    right: tuple[Float[Array, "rows _ _"], ...]
    rest: Float[Array, "rows others"]


class _Matrix(NamedTuple):
    """A leaf on its way to its products."""

    leaf: int
    value: Array


class _Use(NamedTuple):
    """A product: of which matrix, whether of its transpose, with which rows."""

    leaf: int
    transposed: bool
    operand: Float[Array, "channels summed"]


class _Tape:
    """What a pass sees of the matrices, and what it adds to their products."""

    def __init__(self, slots: Sequence[Array] | None = None):
        self.slots = None if slots is None else iter(slots)
        self.uses: list[_Use] = []
        self.outputs: list[Array] = []
        self.misused: set[int] = set()

    def product(self, use: _Use, output: Float[Array, "channels kept"]) -> Array:
        self.uses.append(use)
        self.outputs.append(output)
        return output if self.slots is None else output + next(self.slots)


def matrices_of(function: Callable[[PyTree], Array], params: PyTree) -> frozenset[int]:
    """Which leaves are matrices that a function uses by products alone, or not at all."""
    leaves, _ = jax.tree.flatten(params)
    evaluate = _evaluation(function, params)
    found = frozenset(i for i, leaf in enumerate(leaves) if leaf.ndim == 2)
    while True:
        tape = _Tape()
        jax.eval_shape(lambda a, t=tape, f=found: evaluate(a, f, t), leaves)
        if not tape.misused:
            return found
        # What a leaf meets next is known only after it is no matrix any more.
        found -= tape.misused


def outer_products(
    function: Callable[[PyTree], Float[Array, " out"]],
    params: PyTree,
    matrices: frozenset[int] | None = None,
) -> OuterProducts:
    """The derivative of a vector in its parameters, a row for each entry.

    **Arguments:**

    - `function`: of the parameters, which are floating-point arrays.
    - `matrices`: the leaves that are given as outer products, by default all that
        `matrices_of` finds.
    """
    matrices = matrices_of(function, params) if matrices is None else matrices
    leaves, _ = jax.tree.flatten(params)
    evaluate = _evaluation(function, params)
    others = [leaf for i, leaf in enumerate(leaves) if i not in matrices]
    flat, unravel = jfu.ravel_pytree(others)
    flat = flat if others else jnp.zeros((0,), jnp.result_type(*leaves))
    tape = _Tape()

    def outputs(leaves):
        evaluate(leaves, matrices, tape)
        return tape.outputs

    def run(slots, flat):
        moving = iter(unravel(flat) if others else ())
        inside = [a if i in matrices else next(moving) for i, a in enumerate(leaves)]
        again = _Tape(slots)
        value = evaluate(inside, matrices, again)
        return value, [use.operand for use in again.uses]

    slots = [jnp.zeros(a.shape, a.dtype) for a in jax.eval_shape(outputs, leaves)]
    value, pull, operands = jax.vjp(run, slots, flat, has_aux=True)
    rows = value.size
    cotangents, rest = jax.vmap(pull)(jnp.eye(rows, dtype=value.dtype))
    left, right = [], []
    for index in sorted(matrices):
        # One channel of zeros where it is not used at all.
        sides = [
            tuple(jnp.zeros((rows, 1, n), flat.dtype) for n in leaves[index].shape)
        ]
        for use, v, g in zip(tape.uses, operands, cotangents, strict=True):
            if use.leaf == index:
                v = jnp.broadcast_to(v, (rows, *v.shape))
                sides.append((v, g) if use.transposed else (g, v))
        one, other = zip(*(sides[1:] or sides), strict=True)
        left.append(jnp.concatenate(one, axis=1))
        right.append(jnp.concatenate(other, axis=1))
    return OuterProducts(tuple(left), tuple(right), rest)


def _evaluation(function: Callable, params: PyTree) -> Callable:
    """The function of the leaves, of which some are watched by a tape."""
    leaves, treedef = jax.tree.flatten(params)
    closed = jax.make_jaxpr(lambda *a: function(treedef.unflatten(a)))(*leaves)

    def evaluate(leaves, matrices, tape):
        inputs = [_Matrix(i, a) if i in matrices else a for i, a in enumerate(leaves)]
        (value,) = _interpret(closed.jaxpr, closed.consts, inputs, tape)
        return value

    return evaluate


def _interpret(jaxpr: jex.Jaxpr, consts: Sequence, inputs: list, tape: _Tape) -> list:
    environment: dict[Any, Any] = dict(
        zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *inputs), strict=True)
    )

    def read(atom):
        return atom.val if isinstance(atom, jex.Literal) else environment[atom]

    for equation in _needed(jaxpr):
        results = _apply(equation, [read(atom) for atom in equation.invars], tape)
        environment.update(zip(equation.outvars, results, strict=True))
    return [_plain(read(atom), tape) for atom in jaxpr.outvars]


def _needed(jaxpr: jex.Jaxpr) -> list:
    """The equations on which the results depend: derivatives leave many others."""
    alive = {atom for atom in jaxpr.outvars if not isinstance(atom, jex.Literal)}
    found = []
    for equation in reversed(jaxpr.eqns):
        if alive.intersection(equation.outvars) or equation.effects:
            found.append(equation)
            alive |= {v for v in equation.invars if not isinstance(v, jex.Literal)}
    return found[::-1]


def _apply(equation: Any, operands: list, tape: _Tape) -> list:
    """The results of one equation, as a list."""
    name = equation.primitive.name
    watched = [i for i, operand in enumerate(operands) if isinstance(operand, _Matrix)]
    if watched and name in _CALLS:
        inner = equation.params[_CALLS[name]]
        consts = getattr(inner, "consts", ())
        return _interpret(getattr(inner, "jaxpr", inner), consts, operands, tape)
    if len(watched) == 1 and name == "dot_general":
        product = _product(equation.params, operands, watched[0], tape)
        if product is not None:
            return [product]
    plain = [_plain(operand, tape) for operand in operands]
    # A dictionary from jax 0.10 on, with functions apart from it before.
    bound = equation.primitive.get_bind_params(equation.params)
    subfunctions, parameters = bound if isinstance(bound, tuple) else ((), bound)
    results = equation.primitive.bind(*subfunctions, *plain, **parameters)
    return list(results) if equation.primitive.multiple_results else [results]


def _plain(operand: Any, tape: _Tape) -> Any:
    if not isinstance(operand, _Matrix):
        return operand
    tape.misused.add(operand.leaf)
    return operand.value


def _product(params: dict, operands: list, place: int, tape: _Tape) -> Array | None:
    """A product with a matrix along one of its axes, with what the tape adds to it."""
    summed, batched = params["dimension_numbers"]
    if batched[0] or len(summed[0]) != 1:
        return None
    matrix, vectors = operands[place], operands[1 - place]
    (axis,), (along,) = summed[place], summed[1 - place]
    rows = jnp.moveaxis(vectors, along, -1)
    free = rows.shape[:-1]
    rows = rows.reshape(-1, rows.shape[-1])
    value = matrix.value if axis == 0 else matrix.value.T
    use = _Use(matrix.leaf, axis == 0, rows)
    output = jnp.matmul(rows, value, precision=params["precision"])
    output = tape.product(use, output)
    output = output.reshape(*free, output.shape[-1])
    return jnp.moveaxis(output, -1, 0) if place == 0 else output
