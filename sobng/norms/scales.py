"""The lengths with which derivatives are weighted."""

from collections.abc import Sequence


Scale = float | tuple[float, ...]


def checked_scale(scale: int | float | Sequence[int | float]) -> Scale:
    """A length, or one for each axis, as static data.

    **Raises:** `ValueError` if one is negative or not finite.
    """
    scales = (scale,) if isinstance(scale, int | float) else tuple(scale)
    if not scales or not all(0 <= s < float("inf") for s in scales):
        raise ValueError(
            f"`scale` is a length, or one for each axis, of at least 0. Got {scale!r}."
        )
    scales = tuple(float(s) for s in scales)
    return scales[0] if isinstance(scale, int | float) else scales


def scale_of_axes(owner: str, scale: Scale, dim: int) -> tuple[float, ...]:
    """The length of each axis.

    **Raises:** `ValueError` if their number is not that of the coordinates.
    """
    scales = scale if isinstance(scale, tuple) else (scale,) * dim
    if len(scales) != dim:
        raise ValueError(
            f"`{owner}` has {len(scales)} scales, and a point has {dim} "
            "coordinates. Give one scale, or one for each coordinate."
        )
    return scales
