"""How many threads the factorisations of a step take."""

import contextlib
from collections.abc import Iterator

from threadpoolctl import threadpool_limits


SMALL = 1500
"""Parameters below which a second thread of LAPACK gains nothing (measured: the SVD of a
257 x 257 triangle takes 6 ms on one thread and 9 ms on two)."""


@contextlib.contextmanager
def lapack_threads(params: int) -> Iterator[None]:
    """One LAPACK thread while small systems are solved; as it was before, afterwards.

    OpenBLAS lets idle threads spin. When something else runs on the machine, a step of
    257 parameters with two such threads takes ten times as long as with one (measured).
    """
    if params >= SMALL:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
