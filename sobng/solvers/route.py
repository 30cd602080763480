"""Which factorisation a step takes: the cheapest that fits in memory."""

import os
from typing import Any, NamedTuple

import jax

from sobng.chunks import PIECE
from sobng.linalg.dense import Dense, where_vectors_cost_more
from sobng.linalg.dual import Dual
from sobng.linalg.factorisation import AbstractFactorisation
from sobng.linalg.krylov import Krylov
from sobng.linalg.nystrom import Nystrom, RANK
from sobng.linalg.outer import gram_cost
from sobng.system import System


SMALL = 2**26
"""Numbers in a Jacobian up to which orthogonal factorisations are taken in any case: they
keep all digits."""

SHARE = 0.5
"""Of the memory of the machine."""


class Cost(NamedTuple):
    """What a step takes, roughly: operations, and bytes at its largest moment."""

    operations: float
    bytes: float


def machine_memory() -> float:
    """The bytes of this machine, or of the device that JAX computes on."""
    device = next(iter(jax.devices()))
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


LEAST = 20
"""Directions below which a sketch is not worth its products."""


def costs(
    system: System, args: Any = None, limit: float | int = float("inf")
) -> list[tuple[AbstractFactorisation, Cost]]:
    """The cost of one step by each route, without trials.

    **Arguments:**

    - `limit`: bytes; a sketch is given as many directions as these allow.
    """
    rows, params = system.rows(args), system.num_params
    size = max(leaf.dtype.itemsize for leaf in jax.tree.leaves(system.params))
    low, high = min(rows, params), max(rows, params)
    factors = jax.eval_shape(lambda p: system.factors(p, args), system.params)
    held = sum(leaf.size for leaf in jax.tree.leaves(factors))
    sweep = 6.0 * rows * params
    # Beyond a QR: an SVD, or two reductions of a triangle.
    core = 20 if low < where_vectors_cost_more() else 6
    dense = Cost(sweep + 4 * high * low**2 + core * low**3, size * 3 * rows * params)
    # The matrix, its eigenvectors and LAPACK's work space.
    dual = Cost(gram_cost(factors) + 9 * rows**3, size * (2 * held + 6 * rows**2))
    krylov = Krylov()
    num = min(krylov.num, rows, params)
    products = Cost(2 * num * sweep, size * num * (2 * rows + 3 * params))
    # The rows of a piece, and thrice the columns: before, while and after they are turned.
    piece = size * 2 * max(PIECE, params)
    each = size * 3 * (rows + params)
    rank = max(
        LEAST, min(RANK, low, int((limit - piece) / each) if limit < 1e300 else low)
    )
    blocks = Cost(
        3 * sweep + 6 * rank * rows * params + 12 * high * rank**2, piece + each * rank
    )
    return [
        (Dense(), dense),
        (Dual(), dual),
        (Nystrom(rank), blocks),
        (krylov, products),
    ]


def route(
    system: System | None, euclidean: bool, args: Any, memory: int | float | None
) -> AbstractFactorisation:
    """The factorisation that a Gauss-Newton step takes if none is asked for.

    Dense where the Jacobian is small. Else the cheaper of the dense and the dual. Where
    neither fits in memory an iteration with a sketch, whose digits are fewer for small
    dampings; with a metric a Krylov space, which leaves out directions.

    **Arguments:**

    - `euclidean`: whether the damping is measured in the Euclidean metric.
    - `memory`: bytes; half of the machine's if `None`.
    """
    limit = SHARE * machine_memory() if memory is None else memory
    numbers = 0 if system is None else system.rows(args) * system.num_params
    if system is None or numbers <= min(SMALL, limit / 24):
        return Dense()
    fits = [
        (which, cost)
        for which, cost in costs(system, args, limit)
        if cost.bytes <= limit and (euclidean or isinstance(which, Dense | Krylov))
    ]
    whole = [pair for pair in fits if isinstance(pair[0], Dense | Dual)]
    if whole:
        return min(whole, key=lambda pair: pair[1].operations)[0]
    if not fits:
        raise ValueError(
            f"A step of {system.rows(args)} rows and {system.num_params} parameters does "
            f"not fit into {limit:.1e} bytes by any route. Take fewer points, raise "
            "`memory`, or use `sobng.Nystrom(rank=...)` with few directions."
        )
    return fits[0][0]
