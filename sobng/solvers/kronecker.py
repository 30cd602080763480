"""The Kronecker-factored natural gradient of a mini-batch, for Optax."""

from collections.abc import Callable
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from sobng.metrics.kronecker import KroneckerMetric
from sobng.metrics.layers import find_layers, Layer, replace_layers


if TYPE_CHECKING:
    import optax


class _Basis(eqx.Module):
    """Eigenvalues and eigenvectors of one factor, for each group of channels."""

    values: Float[Array, "s d"]
    vectors: Float[Array, "s d d"]

    @staticmethod
    def of(gram: Float[Array, "s d d"]) -> "_Basis":
        values, vectors = jnp.linalg.eigh(gram)
        return _Basis(jnp.maximum(values, 0), vectors)


class _KroneckerState(eqx.Module):
    count: Int[Array, ""]
    key: PRNGKeyArray
    averages: dict[str, tuple[Array, Array]]
    bases: dict[str, tuple[_Basis, _Basis]]


def kronecker(
    metric: KroneckerMetric | None = None,
    learning_rate: float | Callable | None = None,
    *,
    damping: float = 1e-3,
    decay: float = 0.95,
    statistics_every: int = 10,
    refresh_every: int = 100,
    radius: float | None = None,
    probes: int = 1,
    seed: int = 0,
) -> "optax.GradientTransformationExtraArgs":
    import optax

    metric = KroneckerMetric() if metric is None else metric

    def init(params):
        layers = find_layers(params)
        averages = {name: _identities(layer) for name, layer in layers.items()}
        bases = jax.tree.map(_Basis.of, averages)
        return _KroneckerState(
            jnp.zeros((), jnp.int32), jr.key(seed), averages, bases
        )

    def update(updates, state, params=None, *, model=None, inputs=None, **others):
        del params, others
        if model is None or inputs is None:
            raise ValueError("...")
        layers = find_layers(updates)
        step = state.count

        def measure(averages):
            key = jr.fold_in(state.key, step)
            draw = lambda y: jr.rademacher(key, (probes, y.size), y.dtype) / jnp.sqrt(jnp.asarray(probes, y.dtype))
            found = metric.rows(model, inputs, layers=layers, probes=draw)
            num = step // statistics_every + 1
            rate = (1 - decay) / (1 - decay**num)
            new = {name: rows.grams() for name, rows in found.items()}
            return jax.tree.map(lambda a, b: a + rate.astype(a.dtype) * (b - a), averages, new)

        fresh = step % statistics_every == 0
        averages = jax.lax.cond(fresh, measure, lambda a: a, state.averages)
        due = (step % refresh_every == 0) | ((step < refresh_every) & fresh)
        bases = jax.lax.cond(
            due,
            lambda bases: jax.tree.map(_Basis.of, averages),
            lambda bases: bases,
            state.bases,
        )

        scaled = jax.tree.map(lambda g: g / (1 + damping), updates)
        new = {
            name: layer.with_matrix(_solve(layer.matrix(), *bases[name], damping))
            for name, layer in layers.items()
        }
        scaled = replace_layers(scaled, new)
        if radius is not None:
            square = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(scaled), jax.tree.leaves(updates)))
            f = jnp.minimum(1, radius / jnp.sqrt(jnp.maximum(square, 1e-30)))
            scaled = jax.tree.map(lambda a: a * f, scaled)
        return scaled, _KroneckerState(step + 1, state.key, averages, bases)

    scale = optax.GradientTransformationExtraArgs(init, update)
    if learning_rate is None:
        return scale
    return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))


def _identities(layer: Layer) -> tuple[Array, Array]:
    dtype = layer.module.weight.dtype
    inputs, outputs = (jnp.eye(size, dtype=dtype) for size in layer.sizes)
    tile = lambda a: jnp.tile(a, (layer.groups, 1, 1))
    return tile(inputs), tile(outputs)


def _solve(gradient, inputs: _Basis, outputs: _Basis, damping):
    """$(G \\otimes A + \\mu I)^{-1}$ on a gradient, in the eigenbasis of the factors."""
    u, v = outputs.vectors, inputs.vectors
    inside = jnp.swapaxes(u, 1, 2) @ gradient @ v
    inside = inside / (outputs.values[:, :, None] * inputs.values[:, None, :] + damping)
    return u @ inside @ jnp.swapaxes(v, 1, 2)
