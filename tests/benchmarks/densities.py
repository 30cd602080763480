"""Which metric fits a density in how many steps; writes its table into docs/geometry.md.

    python tests/benchmarks/densities.py

Every run is `problems/density_1d.py` with one loss, start and metric, for seeds 0 to 4.
"""

import importlib.util
import itertools
import pathlib

import jax
import numpy as np

import sobng as sn


ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "geometry.md"
MARKS = "<!-- densities:begin -->", "<!-- densities:end -->"

METRICS = {"l2": "$L^2$", "fisher-rao": "Fisher-Rao", "wasserstein": "Wasserstein"}
GOAL = 1e-12
"""Of either loss, which near the end is the square of a relative error."""

STEPS = 150
SEEDS = range(5)


def problem_file():
    spec = importlib.util.spec_from_file_location(
        "density_1d", ROOT / "problems" / "density_1d.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module, loss, start, metric, seed):
    """Steps until the loss is at its goal, infinite if it never is."""
    case = module.case(loss=loss, start=start, metric=metric)
    first, second = jax.random.split(jax.random.key(seed))
    solution = sn.solve(
        case.problem, case.field(first), key=second, max_steps=STEPS, **case.options
    )
    below = solution.history["loss"] < GOAL
    if not below.any():
        return np.inf
    error, _ = sn.relative_errors(solution, case.reference, module.interval)
    assert error < 10 * GOAL**0.5, "a small loss is to be a small error"
    return solution.history["step"][np.argmax(below)]


def cell(steps):
    there = [int(s) for s in steps if np.isfinite(s)]
    if not there:
        return "none"
    spread = (
        f"{min(there)}" if len(set(there)) == 1 else f"{min(there)} to {max(there)}"
    )
    return f"{len(there)} of {len(steps)}: {spread}"


def main():
    sn.enable_x64()
    module = problem_file()
    rows = [
        f"| loss, start | {' | '.join(METRICS.values())} |",
        "|---|" + "---|" * len(METRICS),
    ]
    for loss, start in itertools.product(("kl", "l2"), ("near", "far")):
        cells = []
        for metric in METRICS:
            steps = [run(module, loss, start, metric, seed) for seed in SEEDS]
            cells.append(cell(steps))
        rows.append(f"| {loss}, {start} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    text = PAGE.read_text()
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = "\n".join(rows)
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
