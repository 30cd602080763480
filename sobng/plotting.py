"""Pictures of solutions and of runs."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sobng.evaluation import float_dtype, observed, unknown_of, values_at
from sobng.geometry.domain import AbstractDomain
from sobng.geometry.spacetime import SpaceTime
from sobng.io.archive import write_file
from sobng.typing import PointFunction


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUM_LINE = 401
_NUM_GRID = 161  # an odd number, so that the centre is seen
_MAX_COMPONENTS = 4
_DECADES = 4  # that a picture of the error shows
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

_STYLE = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "0.25",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "savefig.dpi": 200.0,
    "figure.dpi": 110.0,
}
# Blue, vermilion, green, .. of Okabe and Ito: told apart by everybody, and in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

# What a history may hold, the best measure of progress first, and what it is called. A
# loss is no error.
_QUANTITIES = {
    "rel_l2": "relative $L^2$ error",
    "error": "estimated relative $L^2$ error",
    "held_out": "held-out loss",
    "loss": "training loss",
}


def plot_solution(
    field: Any,
    domain: AbstractDomain,
    reference: PointFunction | None = None,
    *,
    observe: Any = None,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Draws a field, and its pointwise error if there is a reference.

    In one dimension a curve, in two (time may be one of them) a map, beyond the map of
    a plane through the centre. Several components stand below each other.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        sn.plot_solution(lambda x: jnp.sin(3 * x[0]) * x[1], disk, path="field.png")
        ```

    **Arguments:**

    - `field`: a [`sobng.Solution`][], a field, or a dict of fields and arrays.
    - `domain`: where.
    - `reference`: the exact solution at one point.
    - `observe`: what to draw and what the reference speaks of; see [`sobng.observed`][].
    - `path`: a file to write, for instance a PNG or a PDF.

    **Returns:** a Matplotlib figure.

    **Raises:** `ValueError` if field and reference differ in shape or the file cannot be
    written, `ImportError` without Matplotlib.
    """
    sample = _sample(field, domain, reference, observe)
    num = min(sample.values.shape[1], _MAX_COMPONENTS)
    columns = 1 if sample.errors is None else 2
    with _style():
        figure = _figure((4.6 * columns, 3.6 * num))
        grid = figure.subplots(num, columns, squeeze=False)
        for component in range(num):
            name = "u" if sample.scalar else f"u{component}".translate(_SUBSCRIPTS)
            _draw_value(grid[component, 0], sample, component, name)
            if columns == 2:
                _draw_error(grid[component, 1], sample, component, name)
        return _saved(figure, path)


def plot_convergence(
    histories: Mapping[str, Mapping[str, Any]],
    *,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Draws how runs went: error estimates, held-out and training losses by seconds.

    !!! example

        ```python
        import numpy as np
        import sobng as sn

        seconds = np.linspace(0.1, 2.0, 20)
        runs = {"one": {"seconds": seconds, "loss": np.exp(-9 * seconds)}}
        sn.plot_convergence(runs, path="runs.png")
        ```

    **Arguments:**

    - `histories`: by label, the `history` of a solution: arrays `seconds` and any of
        `rel_l2`, `error`, `held_out`, `loss`.
    - `path`: a file to write.

    **Returns:** a Matplotlib figure with a panel for each quantity that was recorded.

    **Raises:** `ValueError` if nothing was recorded or the file cannot be written,
    `ImportError` without Matplotlib.
    """
    runs = {label: _plain(history) for label, history in histories.items()}
    there = [q for q in _QUANTITIES if any(_is_recorded(r, q) for r in runs.values())]
    if not there:
        raise ValueError(
            "`plot_convergence` needs a history with `seconds` and one of "
            f"{', '.join(_QUANTITIES)}. Got {list(runs)} without positive numbers. Pass "
            "the `history` of solutions."
        )
    with _style():
        figure = _figure((4.6 * len(there), 3.6))
        grid = figure.subplots(1, len(there), squeeze=False)[0]
        for axes, quantity in zip(grid, there, strict=True):
            _draw_runs(axes, runs, quantity)
        return _saved(figure, path)


def plot_comparison(
    path: str | os.PathLike | None,
    field: Any,
    domain: AbstractDomain,
    reference: PointFunction | None,
    histories: Mapping[str, Mapping[str, Any]],
    *,
    observe: Any = None,
) -> "Figure":
    """Draws a solution, its pointwise error, and how several runs came to it.

    Of a vector field the lengths are drawn. The runs are compared by the best measure
    that all of them recorded.

    !!! example

        ```python
        import numpy as np
        import sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        seconds = np.linspace(0.1, 2.0, 20)
        runs = {"one": {"seconds": seconds, "loss": np.exp(-9 * seconds)}}
        field, exact = lambda x: x[0] * x[1], lambda x: x[0] * x[1] * (1 + 1e-9 * x[0])
        sn.plot_comparison("runs.png", field, square, exact, runs)
        ```

    **Arguments:** as of [`sobng.plot_solution`][] and [`sobng.plot_convergence`][].

    **Returns:** a Matplotlib figure.

    **Raises:** `ValueError` if the file cannot be written, `ImportError` without
    Matplotlib.
    """
    sample = _sample(field, domain, reference, observe).lengths()
    runs = {label: _plain(history) for label, history in histories.items()}
    shared = [q for q in _QUANTITIES if all(_is_recorded(r, q) for r in runs.values())]
    columns = 1 + (sample.errors is not None) + bool(runs and shared)
    name = "u" if sample.scalar else "|u|"
    with _style():
        figure = _figure((4.6 * columns, 3.8))
        grid = list(figure.subplots(1, columns, squeeze=False)[0])
        _draw_value(grid.pop(0), sample, 0, name)
        if sample.errors is not None:
            _draw_error(grid.pop(0), sample, 0, "u")
        if grid:
            _draw_runs(grid.pop(0), runs, shared[0])
        return _saved(figure, path)


class _Sample:
    """Values on a line or on a grid, with what the axes mean."""

    def __init__(
        self,
        axes: Sequence[tuple[str, np.ndarray]],
        values: Float[np.ndarray, "n components"],
        errors: Float[np.ndarray, "n components"] | None,
        distances: Float[np.ndarray, " n"],
        scalar: bool,
        equal: bool,
        where: str,
    ):
        self.axes = axes
        self.values = values
        self.errors = errors
        self.distances = distances
        self.scalar = scalar
        self.equal = equal
        self.where = where

    def lengths(self) -> "_Sample":
        """The same with the Euclidean lengths of values and errors."""
        if self.scalar:
            return self
        errors = None if self.errors is None else _length(self.errors)
        return _Sample(
            self.axes,
            _length(self.values),
            errors,
            self.distances,
            False,
            self.equal,
            self.where,
        )


def _length(rows: Float[np.ndarray, "n components"]) -> Float[np.ndarray, "n one"]:
    return np.linalg.norm(rows, axis=1, keepdims=True)


def _sample(
    field: Any, domain: AbstractDomain, reference: PointFunction | None, observe: Any
) -> _Sample:
    unknown, look = unknown_of(field), observed(observe)
    chosen = _chosen_axes(domain)
    lower, upper = domain.bounds
    num = _NUM_LINE if len(chosen) == 1 else _NUM_GRID
    ticks = [np.linspace(lower[a], upper[a], num) for a in chosen]
    grid = np.meshgrid(*ticks, indexing="ij")
    points = np.tile((lower + upper) / 2, (grid[0].size, 1))
    for axis, values in zip(chosen, grid, strict=True):
        points[:, axis] = values.ravel()
    distances = np.asarray(domain.signed(points, np))
    # A field means nothing far outside; a rim is kept for smooth edges.
    rim = 2.0 * max(float(t[1] - t[0]) for t in ticks)
    kept = distances > -rim
    rounded = jnp.asarray(points[kept], float_dtype(unknown))
    found = values_at(lambda x: look(unknown, x), rounded)
    scalar = found.ndim == 1
    values = _spread(found, kept)
    errors = None
    if reference is not None:
        wanted = values_at(reference, rounded.astype(jnp.result_type(float)))
        if wanted.shape != found.shape:
            raise ValueError(
                f"The field gives values of shape {found.shape[1:]} and the reference "
                f"of shape {wanted.shape[1:]}. Choose what to draw with `observe=`."
            )
        errors = _spread(np.abs(found - wanted), kept)
    names = _axis_names(domain)
    rest = [a for a in range(domain.dim) if a not in chosen]
    where = ", ".join(f"{names[a]} = {points[0, a]:.3g}" for a in rest[:3])
    where += ", …" if len(rest) > 3 else ""
    axes = [(names[a], t) for a, t in zip(chosen, ticks, strict=True)]
    equal = not (isinstance(domain, SpaceTime) and 0 in chosen)
    return _Sample(axes, values, errors, distances, scalar, equal, where)


def _spread(rows: np.ndarray, kept: np.ndarray) -> Float[np.ndarray, "n components"]:
    """Values at the points that were kept, NaN at the others."""
    rows = rows.reshape(len(rows), -1)
    full = np.full((len(kept), rows.shape[1]), np.nan)
    full[kept] = rows
    return full


def _chosen_axes(domain: AbstractDomain) -> tuple[int, ...]:
    if domain.dim <= 2:
        return tuple(range(domain.dim))
    return (1, 2) if isinstance(domain, SpaceTime) else (0, 1)


def _axis_names(domain: AbstractDomain) -> list[str]:
    time = ["t"] if isinstance(domain, SpaceTime) else []
    dim = domain.dim - len(time)
    space = ["x", "y", "z"][:dim] if dim <= 3 else []
    space = space or [f"x{i + 1}".translate(_SUBSCRIPTS) for i in range(dim)]
    return time + space


def _draw_value(axes: "Axes", sample: _Sample, component: int, name: str) -> None:
    values = sample.values[:, component]
    title = f"solution {name}" + (f"  at {sample.where}" if sample.where else "")
    if len(sample.axes) == 1:
        label, ticks = sample.axes[0]
        axes.plot(ticks, values, color=_COLOURS[0])
        axes.set(xlabel=label, ylabel=name, title=title)
        axes.margins(x=0.0)
        return
    inside = values[sample.distances >= 0]
    _draw_map(axes, sample, values, title, "viridis", _limits(inside), False)


def _draw_error(axes: "Axes", sample: _Sample, component: int, name: str) -> None:
    assert sample.errors is not None
    errors = sample.errors[:, component]
    inside = errors[sample.distances >= 0]
    largest = float(np.nanmax(inside)) if np.any(np.isfinite(inside)) else 0.0
    title = f"error |{name} − {name}*|,  at most {largest:.1e}"
    if not 0 < largest < np.inf:
        # Nothing to show on a logarithmic scale.
        _draw_value(axes, sample, component, name)
        axes.set_title(title)
        return
    least = largest * 10.0**-_DECADES
    clipped = np.clip(errors, least, None)
    if len(sample.axes) == 1:
        label, ticks = sample.axes[0]
        axes.semilogy(ticks, clipped, color=_COLOURS[1])
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
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw_map(
    axes: "Axes",
    sample: _Sample,
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


def _plain(history: Any) -> dict[str, np.ndarray]:
    """The numbers of a history, or of the solution that holds it."""
    history = getattr(history, "history", history)
    known = ("seconds", *_QUANTITIES)
    return {q: np.asarray(history[q], float) for q in known if q in history}


def _shown(run: Mapping[str, np.ndarray], quantity: str) -> np.ndarray:
    """Which entries of a run a logarithmic plot can show."""
    return np.isfinite(run[quantity]) & (run[quantity] > 0) & (run["seconds"] >= 0)


def _is_recorded(run: Mapping[str, np.ndarray], quantity: str) -> bool:
    recorded = quantity in run and "seconds" in run
    return recorded and bool(np.any(_shown(run, quantity)))


def _draw_runs(
    axes: "Axes", runs: Mapping[str, Mapping[str, np.ndarray]], quantity: str
) -> None:
    for index, (label, run) in enumerate(runs.items()):
        if not _is_recorded(run, quantity):
            continue
        shown = _shown(run, quantity)
        seconds, values = run["seconds"][shown], run[quantity][shown]
        colour = _COLOURS[index % len(_COLOURS)]
        few = "o" if len(seconds) <= 40 else None
        axes.plot(
            seconds, values, marker=few, markersize=3.5, color=colour, label=label
        )
        # Where it ended, so that a short run is not overlooked.
        axes.plot(seconds[-1:], values[-1:], "o", markersize=5.5, color=colour)
    axes.set_yscale("log")
    _scale_seconds(axes, runs)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set(xlabel="seconds (without compilation)", title=_QUANTITIES[quantity])
    axes.legend()


def _scale_seconds(axes: "Axes", runs: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Logarithmic seconds if one run is over long before another."""
    ends = [float(run["seconds"][-1]) for run in runs.values() if len(run["seconds"])]
    if ends and min(ends) > 0 and max(ends) > 8 * min(ends):
        first = min(float(np.min(r["seconds"][r["seconds"] > 0])) for r in runs.values())
        axes.set_xscale("log")
        axes.set_xlim(left=max(first, 1e-3 * max(ends)), right=1.3 * max(ends))


@contextlib.contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "Pictures need Matplotlib, which is not installed. Install it with "
            "`pip install 'sobng[plot]'`."
        ) from error
    with matplotlib.rc_context(_STYLE):
        yield


def _figure(size: tuple[float, float]) -> "Figure":
    # Not through `pyplot`, which would open windows and keep every figure alive.
    from matplotlib.figure import Figure

    if "ipykernel" in sys.modules:
        # Registers how notebooks show a figure.
        import matplotlib.pyplot  # noqa: F401

    return Figure(figsize=size, layout="constrained")


def _saved(figure: "Figure", path: str | os.PathLike | None) -> "Figure":
    if path is not None:
        form = pathlib.Path(path).suffix[1:] or "png"
        supported = figure.canvas.get_supported_filetypes()
        if form not in supported:
            raise ValueError(
                f"A picture cannot be written as '.{form}'. Got '{path}'. Choose one of "
                f"{', '.join(sorted(supported))}."
            )
        write_file(path, lambda file: figure.savefig(file, format=form))
    return figure
