"""A linear flow in the coordinates in which it is diagonal."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Array, Complex, Float


class Rates(eqx.Module):
    r"""The rates $\lambda$ of $w' = \lambda w$, real ones and pairs of complex ones.

    Real coordinates are `[real modes, Re of pairs, -Im of pairs]`, so that a system of
    `r` equations has `r` of them whatever its rates are.
    """

    real: Float[Array, " real"]
    decay: Float[Array, " pairs"]
    turn: Float[Array, " pairs"]

    @property
    def values(self) -> Complex[Array, " modes"]:
        """One rate for each real mode and each pair."""
        turn = jnp.concatenate([jnp.zeros_like(self.real), self.turn])
        return jax.lax.complex(jnp.concatenate([self.real, self.decay]), turn)

    def modes(self, y: Float[Array, "*n r"]) -> Complex[Array, "*n modes"]:
        """From real coordinates to modes."""
        first, second = self.real.size, self.real.size + self.decay.size
        rest = -y[..., second:]
        zeros = jnp.zeros_like(y[..., :first])
        return jax.lax.complex(y[..., :second], jnp.concatenate([zeros, rest], axis=-1))

    def real_form(self, w: Complex[Array, "*n modes"]) -> Float[Array, "*n r"]:
        """From modes to real coordinates."""
        return jnp.concatenate([w.real, -w.imag[..., self.real.size :]], axis=-1)

    def at_most(self, growth: float) -> tuple["Rates", np.ndarray]:
        """Those that grow no faster, and the numbers of their real coordinates."""
        real, pairs = (np.asarray(a) <= growth for a in (self.real, self.decay))
        kept = np.flatnonzero(np.concatenate([real, pairs, pairs]))
        parts = (self.real, real), (self.decay, pairs), (self.turn, pairs)
        return _rates(*(np.asarray(part)[where] for part, where in parts)), kept

    def __call__(self, y: Float[Array, "*n r"]) -> Float[Array, "*n r"]:
        """The velocity of the linear flow."""
        modes = self.modes(y)
        return self.real_form(jnp.broadcast_to(self.values, modes.shape) * modes)


WELL = 1e6
"""Condition number of a basis of eigenvectors up to which it is used."""


COUPLED = 1e-13
"""Entries below this part of the largest one do not couple two coordinates."""


def diagonalised(matrix: Float[np.ndarray, "r r"]) -> tuple[Rates, np.ndarray]:
    """Rates and a basis `X` in which `matrix` is diagonal, or as nearly as is safe.

    Coordinates that are not coupled are treated apart. Eigenvectors where they are well
    conditioned; else a real Schur form, orthogonal but for the scaling inside pairs, so
    that no digit is lost however far from normal the matrix is. What that leaves above
    the diagonal is not part of the rates. Runs on the host, once for a run.
    """
    size = np.abs(matrix)
    graph = scipy.sparse.csr_array(size > COUPLED * np.max(size, initial=0.0))
    num, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    if num <= 1:
        return _dense(matrix)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))[:-1]
    blocks = np.split(order, ends)
    found = [_dense(matrix[np.ix_(block, block)]) for block in blocks]
    basis = np.zeros_like(matrix)
    parts = [[], [], []]  # columns of real modes, and of both parts of pairs
    at = 0
    for block, (rates, inner) in zip(blocks, found, strict=True):
        basis[block, at : at + len(block)] = inner
        real, pairs = rates.real.size, rates.decay.size
        for part, first, many in (
            (parts[0], 0, real),
            (parts[1], real, pairs),
            (parts[2], real + pairs, pairs),
        ):
            part.extend(range(at + first, at + first + many))
        at += len(block)
    joined = [
        np.concatenate([np.asarray(getattr(rates, name)) for rates, _ in found])
        for name in ("real", "decay", "turn")
    ]
    return _rates(*joined), basis[
        :, np.concatenate([np.asarray(p, int) for p in parts])
    ]


def _dense(matrix: np.ndarray) -> tuple[Rates, np.ndarray]:
    """The same of one block."""
    scale = np.linalg.norm(matrix)
    if scale == 0 or np.linalg.norm(matrix - matrix.T) < 1e-6 * scale:
        rates, basis = np.linalg.eigh((matrix + matrix.T) / 2)
        return _rates(rates, rates[:0], rates[:0]), basis
    values, vectors = (np.asarray(part) for part in np.linalg.eig(matrix))
    real, imag = np.real, np.imag
    alone, first = np.flatnonzero(imag(values) == 0), np.flatnonzero(imag(values) > 0)
    pairs = vectors[:, first]
    parts = [real(vectors[:, alone]), real(pairs), imag(pairs)]
    basis = np.concatenate(parts, axis=1)
    if np.linalg.cond(basis) < WELL:
        turning = values[first]
        return _rates(real(values[alone]), real(turning), imag(turning)), basis
    found: Any = scipy.linalg.schur(matrix, output="real")
    form, basis = found
    # LAPACK leaves exact zeros below the diagonal but in the blocks of pairs.
    starts = np.flatnonzero(np.diag(form, -1))
    alone = np.setdiff1d(np.arange(len(form)), np.concatenate([starts, starts + 1]))
    upper, lower = form[starts, starts + 1], form[starts + 1, starts]
    turn = np.sqrt(-upper * lower)
    # [[a, b], [c, a]] acts on (p, q): with q scaled by b / turn it is a rotation.
    second = basis[:, starts + 1] * (turn / upper)
    ordered = np.concatenate([basis[:, alone], basis[:, starts], second], axis=1)
    return _rates(np.diag(form)[alone], np.diag(form)[starts], turn), ordered


def _rates(real: np.ndarray, decay: np.ndarray, turn: np.ndarray) -> Rates:
    return Rates(jnp.asarray(real), jnp.asarray(decay), jnp.asarray(turn))
