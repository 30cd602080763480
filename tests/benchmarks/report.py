"""From the runs of bench.py to the tables and plots of docs/benchmarks.md."""

import math
import pathlib
import statistics

from methods import METHODS
from statements import STATEMENTS


ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
LEVELS = (1e-4, 1e-6, 1e-8, 1e-10)


def curve(lines: list[dict]) -> list[tuple[float, float]]:
    """Seconds and errors of one run, those that are finite."""
    looks = [line for line in lines if line.get("error") is not None]
    return [(look["seconds"], look["error"]) for look in looks]


def reached(lines: list[dict], level: float) -> float:
    """The first second at which the error was at or below a level; infinite if none."""
    return min((s for s, error in curve(lines) if error <= level), default=math.inf)


def final(lines: list[dict]) -> float:
    """The error that the user is left with; infinite where numbers were not finite."""
    looks = [line for line in lines if "error" in line]
    last = looks[-1]["error"] if looks else None
    return math.inf if last is None else last


def summary(lines: list[dict]) -> str:
    return f"{final(lines):.1e}, {lines[-1]['result']}"


def _error(value: float) -> str:
    return f"{value:.1e}" if math.isfinite(value) else "not finite"


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _reason(lines: list[dict]) -> str:
    """Why a run ended, as fits into a cell."""
    text = " ".join(lines[-1]["result"].replace("|", "/").split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def row(name: str, runs: list[list[dict]], goal: float) -> str:
    """The row of one method: medians over its runs, and the worst error."""
    label = METHODS[name].label
    ran = [lines for lines in runs if curve(lines)]
    if not ran:
        return f"| {label} | {_reason(runs[0])} |" + " - |" * 10

    def median(field, form):
        # A process that was killed left no sizes.
        values = [lines[-1][field] for lines in ran if field in lines[-1]]
        return format(statistics.median(values), form) if values else "-"

    broken = [reason for lines in runs if (reason := _reason(lines)) != "ran"]
    errors = [final(lines) for lines in ran]
    # Half of an even number of runs must not average with those that never arrive.
    times = [statistics.median_high(reached(x, level) for x in ran) for level in LEVELS]
    cells = [
        label,
        _error(statistics.median_high(errors)),
        f"{_error(max(errors))} ({'; '.join([str(len(runs)), *broken])})",
        f"{100 * sum(error <= goal for error in errors) / len(runs):.0f} %",
        *map(_seconds, times),
        median("params", ".0f"),
        median("points", ".0f"),
        median("compile_seconds", ".1f"),
        median("peak_mb", ".0f"),
    ]
    return "| " + " | ".join(cells) + " |"


def table(statement: str, runs: dict[str, list[list[dict]]]) -> str:
    goal = STATEMENTS[statement].goal
    levels = " | ".join(f"{level:.0e} at" for level in LEVELS)
    head = (
        f"| method | median | worst | success ({goal:.0e}) | {levels} "
        "| params | points | compiling | MB |"
    )
    rows = [row(name, found, goal) for name, found in runs.items()]
    return "\n".join([head, "|---|" + "---:|" * 11, *rows])


def plot(statement: str, runs: dict[str, list[list[dict]]]) -> str:
    """Draws the errors of the first seed over the seconds; the name of the picture."""
    from matplotlib import rc_context

    from sobng.plotting.style import COLOURS, new_figure, style

    # The same runs draw the same file.
    with style(), rc_context({"svg.hashsalt": statement, "svg.fonttype": "none"}):
        figure = new_figure((7.5, 4.2))
        axes = figure.subplots()
        for index, name in enumerate(METHODS):
            points = sorted(curve(runs[name][0])) if name in runs else []
            if not points:
                continue
            look = {
                "color": COLOURS[index % 6],
                "linestyle": ("-", "--", ":")[index // 6],
            }
            few = "o" if len(points) < 12 else None
            axes.plot(
                *zip(*points, strict=True),
                marker=few,
                ms=3,
                lw=1.3,
                **look,
                label=METHODS[name].label,
            )
        axes.set(
            xscale="log", yscale="log", xlabel="seconds", title="relative $L^2$ error"
        )
        axes.set_xlim(left=1e-3)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        name = f"race_{statement}.svg"
        figure.savefig(IMAGES / name, metadata={"Date": None})
    return name


def section(statement: str, runs: dict[str, list[list[dict]]], seconds: float) -> str:
    """The table and the plot of one statement, and the command that makes them anew."""
    seeds = max(len(found) for found in runs.values())
    given = f"--problems {statement} --seconds {seconds:g}"
    if seeds > 1:
        given += " --seeds " + " ".join(map(str, range(seeds)))
    return "\n\n".join(
        [
            f'```sh\nmake bench ARGS="{given}"\n```',
            table(statement, runs),
            f"![{STATEMENTS[statement].title}](images/{plot(statement, runs)})",
        ]
    )


def settings() -> str:
    return "\n".join(f"- {m.label}: {m.settings}." for m in METHODS.values())


def replace(mark: str, text: str) -> None:
    """Replaces what stands between two marks of the page."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    head, rest = PAGE.read_text().split(begin)
    _, tail = rest.split(end)
    PAGE.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")
