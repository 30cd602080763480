"""Snapshots of a function of time, side by side."""

import os
from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

from sobng.geometry.domain import AbstractDomain
from sobng.plotting.maps import draw_value
from sobng.plotting.sample import subscript, take_sample
from sobng.plotting.style import new_figure, saved, style


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_strip(
    snapshots: Sequence[tuple[float, Any]],
    domain: AbstractDomain,
    *,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """A row of pictures for each component, one picture for each time and field."""
    samples = [(t, take_sample(field, domain, None, None)) for t, field in snapshots]
    num = min(samples[0][1].values.shape[1], 4)
    with style():
        figure = new_figure((3.2 * len(samples), 2.8 * num))
        grid = figure.subplots(num, len(samples), squeeze=False)
        for column, (t, sample) in enumerate(samples):
            for component in range(num):
                name = "u" if sample.scalar else subscript("u", component)
                axes = grid[component, column]
                draw_value(axes, sample, component, name)
                axes.set_title(f"{name}, t = {t:.3g}")
        return saved(figure, path)
