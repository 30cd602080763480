"""Curves of how runs went."""

from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

import numpy as np

from sobng.plotting.style import COLOURS


if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What a history may hold, the best measure of progress first, and what it is called. A
# loss is no error.
QUANTITIES = {
    "rel_l2": "relative $L^2$ error",
    "error": "estimated relative $L^2$ error",
    "held_out": "held-out loss",
    "loss": "training loss",
}


def plain(history: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of a history."""
    known = ("seconds", *QUANTITIES)
    return {q: np.asarray(history[q], float) for q in known if q in history}


def _shown(run: Mapping[str, np.ndarray], quantity: str) -> np.ndarray:
    """Which entries of a run a logarithmic plot can show."""
    return np.isfinite(run[quantity]) & (run[quantity] > 0) & (run["seconds"] >= 0)


def is_recorded(run: Mapping[str, np.ndarray], quantity: str) -> bool:
    recorded = quantity in run and "seconds" in run
    return recorded and bool(np.any(_shown(run, quantity)))


def draw_runs(
    axes: "Axes", runs: Mapping[str, Mapping[str, np.ndarray]], quantity: str
) -> None:
    drawn = {label: run for label, run in runs.items() if is_recorded(run, quantity)}
    for index, (label, run) in enumerate(runs.items()):
        if label not in drawn:
            continue
        shown = _shown(run, quantity)
        seconds, values = run["seconds"][shown], run[quantity][shown]
        colour = COLOURS[index % len(COLOURS)]
        few = "o" if len(seconds) <= 40 else None
        axes.plot(
            seconds, values, marker=few, markersize=3.5, color=colour, label=label
        )
        # Where it ended, so that a short run is not overlooked.
        axes.plot(seconds[-1:], values[-1:], "o", markersize=5.5, color=colour)
    axes.set_yscale("log")
    _scale_seconds(axes, drawn)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set(xlabel="seconds (without compilation)", title=QUANTITIES[quantity])
    axes.legend()


def _scale_seconds(axes: "Axes", runs: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Logarithmic seconds if one run is over long before another."""
    ends = [float(run["seconds"][-1]) for run in runs.values()]
    if min(ends) > 0 and max(ends) > 8 * min(ends):
        first = min(
            float(np.min(r["seconds"][r["seconds"] > 0])) for r in runs.values()
        )
        axes.set_xscale("log")
        axes.set_xlim(left=max(first, 1e-3 * max(ends)), right=1.3 * max(ends))
