"""Holds what `evolve` says of its errors against the errors, at every saved time.

    python tests/benchmarks/estimates.py [--rows heat_1d ...] [--seeds 0 1] [--write-only]

The rows are those of `table.py --marks time`, solved by their defaults but for the time
limit, as an estimate that ends early is another one. An estimate holds where it is within
a factor of ten of the error, or both are below 1e-10. References that the problem files
store for five times are made again for all saved ones, once, in out/references. The lines
are kept in out/estimates.jsonl.
"""

import argparse
import json
import pathlib
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import report
from table import IN_TIME

import sobng as sn
from sobng.cli.files import load_problem_file, make_case, parse_options


ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES = ROOT / "out" / "estimates.jsonl"
STORED = ROOT / "out" / "references"

FACTOR = 10.0
"""How far an estimate may be from the error."""

SMALL = 1e-10
"""Below this, both need only be."""

POINTS = 2048
"""At which errors are measured: not those at which runs are compared."""

PARTS = np.linspace(0.0, 1.0, 17)
"""The saved times, as parts of the horizon."""


def holds(estimate, error):
    """Where the promise is kept."""
    near = (estimate <= FACTOR * error) & (error <= FACTOR * estimate)
    return near | ((estimate < SMALL) & (error < SMALL))


def reference_of(module, case):
    """The reference of a problem file, at all saved times."""
    if not hasattr(module, "REFERENCE"):
        return case.reference
    path = STORED / module.REFERENCE.name
    series = case.reference
    if not path.exists():
        sys.path.insert(0, str(module.REFERENCE.parent))
        import fourier

        problem = getattr(fourier, path.stem)
        num, steps = fourier.RUNS[problem][1]
        print(f"Making {path} ...", flush=True)
        spectra, horizon = fourier.spectra(problem, num, max(steps, 16), PARTS)
        spectra = fourier.cut(spectra, series.spectra.shape[-1]).astype(complex)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, spectra=spectra, times=(PARTS * horizon).astype(float))
    return sn.FourierSeries.load(path, series.lower, series.upper, both=series.both)


def errors_of(solution, reference, observe):
    """Relative L2 errors at the saved times."""
    points, weights = solution.domain.interior.sample(POINTS, jr.key(7))
    points = jnp.asarray(points)
    look = sn.observed(observe)
    at_each = partial(jax.lax.map, xs=points, batch_size=128)
    wanted = jax.jit(lambda t: at_each(lambda x: jnp.asarray(reference(t, x))))
    found = jax.jit(lambda field: at_each(lambda x: look(field, x)))

    def norm(values):
        return np.sqrt(weights @ np.sum(values.reshape(POINTS, -1) ** 2, axis=1))

    errors = []
    for t in solution.ts:
        right = np.asarray(wanted(float(t)))
        left = np.asarray(found(solution.at(t)))
        errors.append(norm(left - right) / norm(right))
    return np.asarray(errors)


def run(row, seed):
    """One solution of a row, as the object of a JSON line."""
    label, file, options, _ = row
    module = load_problem_file(ROOT / "problems" / f"{file}.py")
    case = make_case(module, parse_options(options))
    _, key = jr.split(jr.key(seed))  # as the command line does
    begun = time.process_time()
    solution = sn.evolve(case.problem, key=key, observe=case.observe, **case.options)
    cpu = time.process_time() - begun
    errors = errors_of(solution, reference_of(module, case), case.observe)
    return {
        "label": label,
        "seed": seed,
        "result": solution.message,
        "cpu_seconds": cpu,
        "seconds": solution.stats["seconds"],
        "times": list(map(float, solution.ts)),
        "errors": list(map(float, errors)),
        "estimates": list(map(float, solution.errors)),
        "attempts": list(solution.stats["attempts"]),
    }


def show(line):
    print(
        f"{line['label']}, seed {line['seed']}, {line['cpu_seconds']:.0f} s of CPU time"
    )
    columns = line["times"], line["errors"], line["estimates"]
    for t, error, estimate in zip(*columns, strict=True):
        kept = "" if holds(estimate, error) else "  not within the promise"
        ratio = estimate / error if error else np.nan
        print(f"  {t:7.3f}  {error:.1e}  {estimate:.1e}  {ratio:8.2f}{kept}")
    sys.stdout.flush()


def form(values):
    low, high = min(values), max(values)
    return f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"


def table(lines):
    """The Markdown rows, one for each problem."""
    head = (
        "| problem (seeds) | errors | estimates | estimate / error above 1e-10 | kept "
        "| CPU seconds |"
    )
    rows = [head, "|" + "---|" * 6]
    for label in dict.fromkeys(line["label"] for line in lines):
        own = [line for line in lines if line["label"] == label]
        errors, estimates = (
            np.concatenate([line[name] for line in own])
            for name in ("errors", "estimates")
        )
        judged = (errors >= SMALL) | (estimates >= SMALL)
        ratios = estimates[judged] / errors[judged]
        kept = int(np.sum(holds(estimates, errors)))
        rows.append(
            f"| {label} ({len(own)}) | {form(errors)} | {form(estimates)} "
            f"| {form(ratios) if len(ratios) else '-'} | {kept} of {len(errors)} "
            f"| {form([round(line['cpu_seconds']) for line in own])} |"
        )
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", help="file names; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--write-only", action="store_true")
    given = parser.parse_args()
    sn.enable_x64()
    LINES.parent.mkdir(exist_ok=True)
    text = LINES.read_text() if LINES.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    known = {(line["label"], line["seed"]) for line in lines}
    for seed in given.seeds:
        for row in [] if given.write_only else IN_TIME:
            wanted = given.rows is None or row[1] in given.rows
            if wanted and (row[0], seed) not in known:
                lines.append(run(row, seed))
                with LINES.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                show(lines[-1])
    if lines:
        order = [row[0] for row in IN_TIME]
        lines.sort(key=lambda line: (order.index(line["label"]), line["seed"]))
        report.replace("estimates", table(lines))


if __name__ == "__main__":
    main()
