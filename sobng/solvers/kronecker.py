"""The Kronecker-factored natural gradient of mini-batches, for Optax."""

import functools
from collections.abc import Callable
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sobng.metrics.kronecker import KroneckerMetric
from sobng.metrics.layers import find_layers, Layer, replace_layers
from sobng.typing import Number


if TYPE_CHECKING:
    import optax


class _Basis(eqx.Module):
    """Eigenvalues and eigenvectors of a factor, for each group of channels."""

    values: Float[Array, "s d"]
    vectors: Float[Array, "s d d"]


class _KroneckerState(eqx.Module):
    step: Int[Array, ""]
    key: PRNGKeyArray
    averages: dict[str, tuple[Array, Array]]
    bases: dict[str, tuple[_Basis, _Basis]]


def kronecker(
    metric: KroneckerMetric | None = None,
    learning_rate: float | Array | Callable | None = None,
    *,
    damping: Number = 1e-2,
    radius: Number | None = 0.3,
    decay: float = 0.95,
    measure_every: int = 10,
    refresh_every: int = 100,
    probes: int = 1,
    seed: int = 0,
) -> "optax.GradientTransformationExtraArgs":
    r"""The natural gradient of a mini-batch, one Kronecker product for each layer.

    A gradient becomes $(G \otimes A + \mu I)^{-1} \nabla \ell$ for each layer, with
    running averages of the factors of a [`sobng.KroneckerMetric`][]. `update` needs two
    more arguments, the model and the inputs of the batch. Momentum, schedules and weight
    decay are Optax's.

    For models with too many parameters for a Jacobian, trained on mini-batches; for an
    equation on fixed points [`sobng.GaussNewton`][] reaches far more digits. A step costs
    little more than one of Adam where convolutions dominate, and two to three times as
    much with dense layers 128 wide and batches of 256.

    !!! example

        ```python
        import equinox as eqx, jax, jax.numpy as jnp, optax
        import sobng as sn

        model = eqx.nn.MLP(3, 1, 16, 1, key=jax.random.key(0))
        params, static = eqx.partition(model, eqx.is_inexact_array)
        inputs = jax.random.normal(jax.random.key(1), (32, 3))
        optimiser = optax.chain(
            sn.kronecker(sn.KroneckerMetric()),
            optax.trace(0.9),
            optax.scale_by_learning_rate(0.03),
        )
        state = optimiser.init(params)


        @jax.jit
        def step(params, state, inputs):
            loss = lambda p: jnp.mean(jax.vmap(eqx.combine(p, static))(inputs) ** 2)
            gradient = jax.grad(loss)(params)
            model = eqx.combine(params, static)
            updates, state = optimiser.update(
                gradient, state, params, model=model, inputs=inputs
            )
            return optax.apply_updates(params, updates), state


        params, state = step(params, state, inputs)
        ```

    **Arguments:**

    - `metric`: the kernel and the inner product of outputs; K-FAC in the Euclidean inner
        product by default.
    - `learning_rate`: multiplies the step, a number or a schedule; without one the
        natural gradient itself is returned, for `optax.chain`. With a momentum of 0.9,
        0.03 to 0.1 is a start.

    **Other arguments:**

    - `damping`: $\mu$, added to the products of eigenvalues.
    - `radius`: the longest step $d$, before the learning rate, in the norm
        $d^T \nabla \ell$ of the damped metric; longer ones are shortened. `None` for none.
    - `decay`: of the running averages, which are corrected for their start.
    - `measure_every`: steps between two measurements of the factors.
    - `refresh_every`: steps between two eigendecompositions, which at first are made
        whenever the number of measurements has doubled.
    - `probes`: random output vectors, shared by all samples, in a measurement.
    - `seed`: for the probes.

    **Returns:** a transformation with
    `update(gradient, state, params, *, model, inputs)`: `model` is called on one sample,
    and `inputs` holds a batch of them along the first axis.

    **Raises:** `ValueError` if a number is out of range, no layer is found, a layer is
    not used exactly once, or `model` or `inputs` are missing.

    ??? cite "Reference"

        As for [`sobng.KroneckerMetric`][]. The radius stands for the clipping of Ba,
        Grosse, Martens: Distributed second-order optimization using Kronecker-factored
        approximations (ICLR 2017). We differ in: it does not see the learning rate.
    """
    import optax

    _check(damping, radius, decay, measure_every, refresh_every, probes)
    metric = KroneckerMetric() if metric is None else metric

    def init(params) -> Any:
        layers = find_layers(params)
        if not layers:
            raise ValueError(
                "`kronecker` found no layer in the parameters: none of `eqx.nn.Linear`, "
                "`eqx.nn.Conv`, `sobng.MLP` and `sobng.SIREN`. Pass the model itself, "
                "filtered by `eqx.filter(model, eqx.is_inexact_array)`."
            )
        averages = {name: _zeros(layer) for name, layer in layers.items()}
        return _KroneckerState(
            jnp.zeros((), jnp.int32),
            jr.key(seed),
            averages,
            jax.tree.map(_eigenbasis, averages),
        )

    def update(
        updates, state, params=None, *, model=None, inputs=None, **others
    ) -> tuple[Any, Any]:
        del params, others
        if model is None or inputs is None:
            raise ValueError(
                "`kronecker` looks at the layers on the batch. Write "
                "`update(gradient, state, params, model=model, inputs=inputs)`."
            )
        layers = find_layers(updates)
        step = state.step
        fresh = step % measure_every == 0
        num = step // measure_every
        # At first, when every measurement counts, after each doubling of their number.
        early = (step < refresh_every) & (num & (num - 1) == 0)
        refresh = fresh & (early | (step % refresh_every == 0))

        def measure(averages):
            draw = functools.partial(_probes, jr.fold_in(state.key, step), probes)
            rows = metric.rows(model, layers, inputs, draw)
            new = {name: found.grams() for name, found in rows.items()}
            # A mean of all measurements with decaying weights, right from the first.
            rate = (1 - decay) / (1 - decay ** (num + 1).astype(float))
            mix = lambda old, new: old + rate.astype(old.dtype) * (new - old)
            return jax.tree.map(mix, averages, new)

        averages = jax.lax.cond(fresh, measure, lambda old: old, state.averages)
        bases = jax.lax.cond(
            refresh,
            lambda _: jax.tree.map(_eigenbasis, averages),
            lambda old: old,
            state.bases,
        )
        natural = _precondition(updates, layers, bases, damping)
        if radius is not None:
            natural = _shorten(natural, updates, radius)
        return natural, _KroneckerState(step + 1, state.key, averages, bases)

    transform = optax.GradientTransformationExtraArgs(init, update)
    if learning_rate is None:
        return transform
    scale = optax.scale_by_learning_rate(learning_rate)
    return optax.with_extra_args_support(optax.chain(transform, scale))


def _check(damping, radius, decay, measure_every, refresh_every, probes):
    counts = (measure_every, refresh_every, probes)
    if not all(isinstance(count, int) and count >= 1 for count in counts):
        raise ValueError(
            "`measure_every`, `refresh_every` and `probes` are integers of at least 1. "
            f"Got {counts}."
        )
    if refresh_every % measure_every:
        raise ValueError(
            "`refresh_every` is a multiple of `measure_every`: between two measurements "
            f"there is nothing new. Got {refresh_every} and {measure_every}."
        )
    # Numbers that are traced, in a sweep or by `optax.inject_hyperparams`, pass.
    known = [a for a in (damping, radius) if isinstance(a, int | float)]
    if not (all(a > 0 for a in known) and 0 <= decay < 1):
        raise ValueError(
            "`kronecker` needs a positive damping and radius and a decay in [0, 1). Got "
            f"damping={damping}, radius={radius}, decay={decay}."
        )


def _zeros(layer: Layer) -> tuple[Array, Array]:
    shapes = ((layer.groups, size, size) for size in layer.sizes)
    inputs, outputs = (jnp.zeros(s, layer.module.weight.dtype) for s in shapes)
    return inputs, outputs


def _probes(key, num, y):
    """Random signs, whose outer products are the identity on average."""
    return jr.rademacher(key, (num, y.size), y.dtype) / num**0.5


def _eigenbasis(gram: Float[Array, "s d d"]) -> _Basis:
    values, vectors = jnp.linalg.eigh(gram)
    return _Basis(jnp.maximum(values, 0), vectors)


def _precondition(gradient: Any, layers, bases, damping) -> Any:
    def solve(name, layer):
        a, g = bases[name]
        u, v = g.vectors, a.vectors
        inside = jnp.swapaxes(u, 1, 2) @ layer.matrix() @ v
        inside = inside / (g.values[:, :, None] * a.values[:, None, :] + damping)
        return layer.with_matrix(u @ inside @ jnp.swapaxes(v, 1, 2))

    euclidean = jax.tree.map(lambda leaf: leaf / (1 + damping), gradient)
    solved = {name: solve(name, layer) for name, layer in layers.items()}
    return replace_layers(euclidean, solved)


def _shorten(step: Any, gradient: Any, radius) -> Any:
    """The step scaled to a norm of at most `radius` in the metric that made it."""
    pairs = zip(jax.tree.leaves(step), jax.tree.leaves(gradient), strict=True)
    norm = jnp.sqrt(jnp.sum(jnp.stack([jnp.vdot(a, b) for a, b in pairs])))
    factor = radius / jnp.maximum(norm, radius)
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), step)
