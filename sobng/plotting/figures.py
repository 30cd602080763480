"""Pictures of solutions and of runs."""

import os
from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

from sobng.geometry.domain import AbstractDomain
from sobng.plotting.maps import draw_error, draw_value
from sobng.plotting.runs import draw_runs, is_recorded, plain, QUANTITIES
from sobng.plotting.sample import subscript, take_sample
from sobng.plotting.style import new_figure, saved, style
from sobng.typing import PointFunction


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_COMPONENTS = 4


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
    - `observe`: what to draw, and what the reference speaks of, as in
        [`sobng.observed`][].
    - `path`: a file to write, for instance a PNG or a PDF.

    **Returns:** a Matplotlib figure.

    **Raises:** `ValueError` if field and reference differ in shape or the file cannot
    be written, `ImportError` without Matplotlib.
    """
    sample = take_sample(field, domain, reference, observe)
    num = min(sample.values.shape[1], _MAX_COMPONENTS)
    columns = 1 if sample.errors is None else 2
    with style():
        figure = new_figure((4.6 * columns, 3.6 * num))
        grid = figure.subplots(num, columns, squeeze=False)
        for component in range(num):
            name = "u" if sample.scalar else subscript("u", component)
            draw_value(grid[component, 0], sample, component, name)
            if columns == 2:
                draw_error(grid[component, 1], sample, component, name)
        return saved(figure, path)


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
    runs = {label: plain(history) for label, history in histories.items()}
    there = [q for q in QUANTITIES if any(is_recorded(r, q) for r in runs.values())]
    if not there:
        raise ValueError(
            "`plot_convergence` needs a history with `seconds` and one of "
            f"{', '.join(QUANTITIES)}. Got {list(runs)} without positive numbers. Pass "
            "the `history` of solutions."
        )
    with style():
        figure = new_figure((4.6 * len(there), 3.6))
        grid = figure.subplots(1, len(there), squeeze=False)[0]
        for axes, quantity in zip(grid, there, strict=True):
            draw_runs(axes, runs, quantity)
        return saved(figure, path)


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
    sample = take_sample(field, domain, reference, observe).lengths()
    runs = {label: plain(history) for label, history in histories.items()}
    shared = [q for q in QUANTITIES if all(is_recorded(r, q) for r in runs.values())]
    columns = 1 + (sample.errors is not None) + bool(runs and shared)
    name = "u" if sample.scalar else "|u|"
    with style():
        figure = new_figure((4.6 * columns, 3.8))
        grid = list(figure.subplots(1, columns, squeeze=False)[0])
        draw_value(grid.pop(0), sample, 0, name)
        if sample.errors is not None:
            draw_error(grid.pop(0), sample, 0, "u")
        if grid:
            draw_runs(grid.pop(0), runs, shared[0])
        return saved(figure, path)
