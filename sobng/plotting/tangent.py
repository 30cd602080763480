"""Pictures of tangent kernels."""

import os
from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

import numpy as np

from sobng.plotting.maps import draw_value
from sobng.plotting.sample import take_sample
from sobng.plotting.style import COLOURS, new_figure, saved, style


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_tangent_kernel(
    kernels: Mapping[str, Any],
    *,
    num: int = 3,
    path: str | os.PathLike | None = None,
) -> "Figure":
    """Draws the spectra of tangent kernels, and the first eigenfunctions of each.

    Eigenfunctions in one dimension are curves, in two maps, beyond maps of a plane; of a
    vector field the first component.

    !!! example

        ```python
        import jax, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        field = sn.MLP(1, width=8, key=jax.random.key(0), domain=interval)
        kernels = {
            "neural": sn.tangent_kernel(field, domain=interval),
            "H1": sn.tangent_kernel(field, sn.SobolevMetric(1), domain=interval),
        }
        sn.plot_tangent_kernel(kernels, path="kernels.png")
        ```

    **Arguments:**

    - `kernels`: by label, what [`sobng.tangent_kernel`][] returned.
    - `num`: how many eigenfunctions.
    - `path`: a file to write, for instance a PNG or a PDF.

    **Returns:** a Matplotlib figure.

    **Raises:** `ValueError` if there is no kernel, a kernel has no domain or fewer
    eigenfunctions, or the file cannot be written; `ImportError` without Matplotlib.
    """
    if not kernels:
        raise ValueError(
            "`plot_tangent_kernel` needs kernels by label. Got none. Pass a dict of what "
            "`sobng.tangent_kernel` returned."
        )
    spectra = {label: np.asarray(k.spectrum) for label, k in kernels.items()}
    dim = max(kernel.domain.dim for kernel in kernels.values())
    maps = 1 if dim == 1 else num
    with style():
        figure = new_figure((4.2 * (1 + maps), 3.4 * len(kernels)))
        grid = figure.subplots(len(kernels), 1 + maps, squeeze=False)
        for row, (label, kernel) in enumerate(kernels.items()):
            _draw_spectra(grid[row, 0], spectra, label)
            for index, function in enumerate(kernel.eigenfunctions(num)):
                sample = take_sample(function, kernel.domain, None, None)
                axes = grid[row, 1 + min(index, maps - 1)]
                if dim == 1:
                    name, ticks = sample.axes[0]
                    colour = COLOURS[index % len(COLOURS)]
                    axes.plot(ticks, sample.values[:, 0], color=colour)
                    axes.set(xlabel=name, title=f"eigenfunctions, {label}")
                    axes.margins(x=0.0)
                else:
                    draw_value(axes, sample, 0, "")
                    axes.set_title(f"eigenfunction {index + 1}, {label}")
        return saved(figure, path)


def _draw_spectra(axes: "Axes", spectra: Mapping[str, np.ndarray], label: str) -> None:
    """All spectra relative to their largest, one of them in front."""
    for index, (name, values) in enumerate(spectra.items()):
        shown = values[values > 0] / values[0]
        colour = COLOURS[index % len(COLOURS)]
        ours = name == label
        axes.semilogy(
            np.arange(1, len(shown) + 1),
            shown,
            marker="o",
            markersize=3,
            color=colour,
            alpha=1.0 if ours else 0.35,
            label=name,
        )
    axes.set(xlabel="k", title="eigenvalues, relative to the largest")
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    if len(spectra) > 1:
        axes.legend()
