"""A curve or a map of values, and of errors on a logarithmic scale."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sobng.plotting.sample import Sample
from sobng.plotting.style import COLOURS


if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DECADES = 4  # that a picture of the error shows


def draw_value(axes: "Axes", sample: Sample, component: int, name: str) -> None:
    values = sample.values[:, component]
    title = f"solution {name}" + (f"  at {sample.where}" if sample.where else "")
    if len(sample.axes) == 1:
        label, ticks = sample.axes[0]
        axes.plot(ticks, values, color=COLOURS[0])
        axes.set(xlabel=label, ylabel=name, title=title)
        axes.margins(x=0.0)
        return
    inside = values[sample.distances >= 0]
    _draw_map(axes, sample, values, title, "viridis", _limits(inside), False)


def draw_error(axes: "Axes", sample: Sample, component: int, name: str) -> None:
    assert sample.errors is not None
    errors = sample.errors[:, component]
    inside = errors[sample.distances >= 0]
    largest = float(np.nanmax(inside)) if np.any(np.isfinite(inside)) else 0.0
    title = f"error |{name} − {name}*|,  at most {largest:.1e}"
    if not 0 < largest < np.inf:
        # Nothing to show on a logarithmic scale.
        draw_value(axes, sample, component, name)
        axes.set_title(title)
        return
    least = largest * 10.0**-_DECADES
    clipped = np.clip(errors, least, None)
    if len(sample.axes) == 1:
        label, ticks = sample.axes[0]
        axes.semilogy(ticks, clipped, color=COLOURS[1])
        axes.set(xlabel=label, ylabel="error", title=title)
        axes.margins(x=0.0)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        return
    _draw_map(axes, sample, clipped, title, "magma", (least, largest), True)


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    # A constant would show its rounding.
    varies = high - low > 1e-9 * max(abs(low), abs(high))
    return (low, high) if varies else (low - 0.5, high + 0.5)


def _draw_map(
    axes: "Axes",
    sample: Sample,
    values: Float[np.ndarray, " n"],
    title: str,
    colours: str,
    limits: tuple[float, float],
    logarithmic: bool,
) -> None:
    from matplotlib.colors import LogNorm, Normalize

    (x_label, x), (y_label, y) = sample.axes
    shape = (len(x), len(y))
    # Rows of the arrays are x, of Matplotlib y.
    picture = np.ma.masked_invalid(values.reshape(shape).T)
    norm = LogNorm(*limits) if logarithmic else Normalize(*limits)
    mesh = axes.pcolormesh(
        x, y, picture, cmap=colours, norm=norm, shading="gouraud", rasterized=True
    )
    distances = sample.distances.reshape(shape).T
    depth = float(np.min(distances))
    if depth < -1e-6 * float(np.ptp(x)):
        axes.contourf(x, y, distances, levels=[2 * depth, 0.0], colors=["white"])
        axes.contour(x, y, distances, levels=[0.0], colors=["0.25"], linewidths=0.8)
        axes.spines[:].set_visible(False)
    else:
        axes.spines[:].set_visible(True)
    if sample.equal:
        axes.set_aspect("equal")
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.03, aspect=25)
    bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue] (its stub)
    bar.ax.tick_params(width=0.5)
