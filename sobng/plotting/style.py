"""How pictures look, and how they are made and written."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, TYPE_CHECKING

from sobng.io.archive import write_file


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
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
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of all pictures, or the sentence that Matplotlib is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "Pictures need Matplotlib, which is not installed. Install it with "
            "`pip install 'sobng[plot]'`."
        ) from error
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(size: tuple[float, float]) -> "Figure":
    """An empty figure."""
    # Not through `pyplot`, which would open windows and keep every figure alive.
    from matplotlib.figure import Figure

    if "ipykernel" in sys.modules:
        import matplotlib.pyplot as plt

        # Importing no longer does this: it tells the notebook how to show a figure.
        plt.install_repl_displayhook()

    return Figure(figsize=size, layout="constrained")


def saved(figure: "Figure", path: str | os.PathLike | None) -> "Figure":
    """The figure, also written to a file if there is a path."""
    if path is not None:
        form = pathlib.Path(path).suffix[1:] or "png"
        supported = figure.canvas.get_supported_filetypes()
        if form not in supported:
            raise ValueError(
                f"A picture cannot be written as '.{form}'. Got '{path}'. Choose one "
                f"of {', '.join(sorted(supported))}."
            )
        write_file(path, lambda file: figure.savefig(file, format=form))
    return figure
