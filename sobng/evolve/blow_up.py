"""Whether a solution runs into infinity, by how its size has grown."""

import numpy as np


GROWN = 10.0
"""How much larger a field is in the end that may have blown up."""

HUGE = 1e4
"""How much larger a field has become that is not waited for, though it can be followed."""

SOONER = 0.8
"""By how much faster it doubles each time, at least."""


def blows_up(ts: np.ndarray, size: np.ndarray, end: float, factor: float) -> bool:
    """Whether a field grows so that it is infinite before the end: it is much larger than
    at first, and each time it has doubled sooner than the time before.

    **Arguments:**

    - `ts`, `size`: times, and norms of the field.
    - `factor`: how much larger it has to be, eight at least.
    """
    if not size[-1] > factor * size[0] > 0:
        return False
    # Since when it was above a half, a fourth and an eighth of what it is.
    parts = [size[-1] / 2**k for k in (1, 2, 3)]
    since = [int(np.flatnonzero(size <= part)[-1]) for part in parts]
    crossed = [
        np.interp(part, size[i : i + 2], ts[i : i + 2])
        for part, i in zip(parts, since, strict=True)
    ]
    last, before, first = -np.diff([ts[-1], *crossed])
    if not (last < SOONER * before and before < SOONER * first):
        return False
    ratio = last / before
    return bool(ts[-1] + last * ratio / (1 - ratio) < end)
