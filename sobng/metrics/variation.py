"""The second variation of an energy in the directions of the parameters, as rows.

A density sees the field only through its jet at a point, the value and the derivatives
there. With the jets' Jacobian $J = QR$ and the density's second derivatives $H$ in the
jets, block diagonal, the Gram matrix is $R^T (Q^T H Q) R$. The matrix in the middle is as
well conditioned as the energy is in function space, so that its root may be taken; the
whole one has the squares of what the network's parameters do.
"""

from typing import Any

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.chunks import chunked
from sobng.metrics.jets import jet_of, local, order_of
from sobng.precision import matmul
from sobng.system import System


def curvature_factor(
    system: System, params: PyTree, args: Any
) -> Float[Array, "any params"]:
    r"""`F` with $F^T F = |E''(u)|[\partial_i u, \partial_j u]$ for a system of an energy.

    The absolute value is taken of the eigenvalues in function space.
    """
    jets, second, fixed = _jets(system, params, args)
    if system.names:
        fixed = jnp.concatenate([fixed, system.jacobian(params, args)])
    frame, sizes, right = _orthogonal(jnp.concatenate([jets, fixed]))
    inner, outer = frame[: len(jets)], frame[len(jets) :]
    blocks = inner.reshape(*second.shape[:2], -1)
    bent = matmul(second, blocks).reshape(inner.shape)
    core = matmul(inner.T, bent) + matmul(outer.T, outer)
    values, vectors = jnp.linalg.eigh(0.5 * (core + core.T))
    root = jnp.sqrt(jnp.abs(values))
    return root[:, None] * matmul(vectors.T, sizes[:, None] * right)


def _orthogonal(jacobian):
    """The singular value decomposition, without what rounding leaves undetermined."""
    rows, size = jacobian.shape
    if rows >= size:
        frame, triangle = jnp.linalg.qr(jacobian)
        left, sizes, right = jnp.linalg.svd(triangle)
        frame = matmul(frame, left)
    else:
        frame, sizes, right = jnp.linalg.svd(jacobian, full_matrices=False)
    # A column of the frame is noise to the precision times the largest size over its
    # own.
    least = jnp.finfo(sizes.dtype).eps ** (2 / 3) * sizes[0]
    kept = jnp.where(sizes > least, jnp.ones_like(sizes), 0)
    return frame * kept[None], sizes * kept, right


def _jets(system, params, args):
    """The jets' Jacobian `[n jet, params]`, with the roots of the points' weights, and the
    density's second derivative in them `[n, jet, jet]`. Last, a row that keeps the norm of
    a field which is divided by it: the energy does not see that norm, and steps that are
    short for the parameters would make it ever less."""
    energy: Any = system.problem
    points, weights = system.collocation.points[""], system.collocation.weights[""]
    flat, unravel = jfu.ravel_pytree(params)
    u = system.unknown(params)
    order = order_of(energy.density, u, points[0], args)
    _, shape = jfu.ravel_pytree(jet_of(u, points[0], order))

    def jet(flat, x):
        return jfu.ravel_pytree(jet_of(system.unknown(unravel(flat)), x, order))[0]

    def density(jet, x):
        return energy.density(local(u, shape(jet)), x, args)

    rows = chunked(lambda x: jax.jacrev(jet)(flat, x), system.chunk, points)
    jets = jax.vmap(lambda x: jet(flat, x))(points)
    fixed = jnp.zeros((0, flat.size), rows.dtype)
    second = lambda jets: jax.vmap(jax.hessian(density))(jets, points)
    if energy.normalise is None:
        curvature = second(jets)
    else:
        # The derivative of u/|u| removes from a direction its part along u; the bend
        # of the sphere takes the slope along u from the curvature.
        norm = jnp.sqrt(jnp.sum(weights * jets[:, 0] ** 2))
        jets = jets / norm
        along = matmul(weights * jets[:, 0], rows[:, 0])  # [params]
        rows = (rows - jets[:, :, None] * along[None, None]) / norm
        first = jax.vmap(jax.grad(density))(jets, points)
        level = jnp.sum(weights[:, None] * first * jets)
        curvature = second(jets).at[:, 0, 0].add(-level)
        fixed = jnp.sqrt(jnp.abs(level)) / norm * along[None]
    scale = jnp.sqrt(weights)
    rows = (scale[:, None, None] * rows).reshape(-1, flat.size)
    return rows, curvature, fixed
