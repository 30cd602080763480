"""Measures sobng's own problems over seeds, for the tables of docs/benchmarks.md.

    python tests/benchmarks/table.py [--marks default gpu ...] [--seeds 0 1 2 3 4]

Every run is `sobng run FILE --json -`; its JSON lines are kept in out/bench.jsonl, so that
a table can be written again (`--write-only`) or a run that was broken off goes on.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import report


ROOT = pathlib.Path(__file__).parents[2]
LINES = ROOT / "out" / "bench.jsonl"

# label, file, options, seconds
DEFAULT = [
    ("`poisson_2d`, exact boundary", "poisson_2d", [], 20),
    ("`poisson_2d`, penalty boundary", "poisson_2d", ["boundary=penalty"], 30),
    ("`poisson_disk`", "poisson_disk", [], 30),
    ("`heat_1d`, space-time", "heat_1d", ["route=space-time"], 30),
    ("`biharmonic_2d`", "biharmonic_2d", [], 30),
    ("`liouville_2d`", "liouville_2d", [], 120),
    ("`kovasznay` (velocity)", "kovasznay", [], 120),
    ("`helmholtz_2d` (1, 4)", "helmholtz_2d", [], 60),
    ("`helmholtz_2d` (6, 6)", "helmholtz_2d", ["a=(6,6)"], 120),
    ("`multiscale_poisson_2d`", "multiscale_poisson_2d", [], 120),
    ("`poisson_5d`", "poisson_5d", [], 120),
    ("`poisson_5d`, Gaussian", "poisson_5d", ["data=gaussian"], 600),
    ("`poisson_10d`", "poisson_10d", [], 600),
    ("`heat_4d`, space-time", "heat_4d", ["route=space-time"], 300),
    ("`poisson_l_shape`, corner", "poisson_l_shape", [], 120),
    ("`advection_diffusion_1d`, 1e-2", "advection_diffusion_1d", [], 30),
    (
        "`advection_diffusion_1d`, 1e-4",
        "advection_diffusion_1d",
        ["diffusion=1e-4"],
        120,
    ),
    ("`ritz_1d`", "ritz_1d", [], 60),
]
# Judged by the relative error of a number; the others by that of the field in L2.
ENERGIES = [
    ("`ritz_1d`, in H1", "ritz_1d", [], 120),
    ("`minimal_surface_2d`", "minimal_surface_2d", [], 120),
    ("`gross_pitaevskii_2d`, energy", "gross_pitaevskii_2d", [], 120),
    ("`eigen_l_shape`, eigenvalue", "eigen_l_shape", [], 120),
    ("`density_1d`", "density_1d", [], 30),
]
FIELD = {
    "`ritz_1d`, in H1": "rel_h1",
    "`gross_pitaevskii_2d`, energy": "energy_error",
    "`eigen_l_shape`, eigenvalue": "eigenvalue_error",
}
ALONE = [
    ("`poisson_2d`, exact boundary", "poisson_2d", [], 20),
    ("`poisson_2d`, penalty boundary", "poisson_2d", ["boundary=penalty"], 30),
    ("`heat_1d`, space-time", "heat_1d", ["route=space-time"], 60),
    ("`kovasznay` (velocity)", "kovasznay", ["depth=2"], 120),
    ("`helmholtz_2d` (1, 4)", "helmholtz_2d", [], 60),
    ("`helmholtz_2d` (6, 6)", "helmholtz_2d", ["a=(6,6)"], 120),
    ("`multiscale_poisson_2d`", "multiscale_poisson_2d", [], 120),
    ("`liouville_2d`", "liouville_2d", [], 120),
    ("`poisson_l_shape`, corner", "poisson_l_shape", [], 120),
    ("`advection_diffusion_1d`, 1e-2", "advection_diffusion_1d", [], 30),
    (
        "`advection_diffusion_1d`, 1e-4",
        "advection_diffusion_1d",
        ["diffusion=1e-4"],
        120,
    ),
    ("`poisson_5d`", "poisson_5d", [], 120),
    ("`poisson_5d`, Gaussian", "poisson_5d", ["data=gaussian"], 600),
    ("`poisson_10d`", "poisson_10d", [], 600),
    ("`heat_4d`, space-time", "heat_4d", ["route=space-time"], 300),
]
# By `evolve`, judged at the last time.
IN_TIME = [
    ("`heat_1d`", "heat_1d", [], 30),
    ("`advection_1d`", "advection_1d", [], 60),
    ("`burgers_1d`, 0.01", "burgers_1d", ["viscosity=0.01"], 120),
    ("`burgers_1d`, 0.01/pi", "burgers_1d", [], 180),
    ("`wave_1d`", "wave_1d", [], 60),
    ("`allen_cahn_1d`", "allen_cahn_1d", [], 300),
    ("`kdv_1d`", "kdv_1d", [], 300),
    ("`kuramoto_sivashinsky_1d`", "kuramoto_sivashinsky_1d", [], 600),
    ("`schroedinger_1d`", "schroedinger_1d", [], 300),
    ("`heat_2d`", "heat_2d", [], 600),
    ("`allen_cahn_2d`", "allen_cahn_2d", [], 600),
    ("`burgers_2d`", "burgers_2d", [], 600),
    ("`fokker_planck_9d`", "fokker_planck_9d", [], 600),
]
# The same where all parameters of a network move.
SMALL = ["width=16", "depth=2"]
MOVING = [
    ("`burgers_1d`, 0.01", "burgers_1d", ["viscosity=0.01", *SMALL], 120),
    ("`burgers_1d`, 0.01/pi", "burgers_1d", SMALL, 180),
    ("`allen_cahn_1d`", "allen_cahn_1d", SMALL, 300),
]
LARGE = [("`poisson_100d`", "poisson_100d", [], 3600)]
TABLES = {
    "default": DEFAULT,
    "alone": [(a, b, [*c, "stages=all-parameters"], d) for a, b, c, d in ALONE],
    "energies": ENERGIES,
    "time": IN_TIME,
    "moving": MOVING,
    "large": LARGE,
    "gpu": DEFAULT,
}


def run(mark, row, seed, dtype):
    """One run in a process of its own; the JSON object that it prints."""
    label, file, options, limit = row
    command = [
        sys.executable,
        "-m",
        "sobng",
        "run",
        str(ROOT / "problems" / f"{file}.py"),
    ]
    command += ["--seed", str(seed), "--time-limit", str(limit), "--dtype", dtype]
    command += [word for option in options for word in ("--option", option)]
    command += ["--json", "-", "--quiet"]
    # Compilation is measured, so that none of an earlier run serves.
    cold = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, env=cold
    )
    lines = done.stdout.strip().splitlines()
    found = json.loads(lines[-1]) if lines else {"result": done.stderr.strip()[-200:]}
    return found | {"mark": mark, "label": label, "seed": seed, "dtype": dtype}


def key_of(line):
    return line["mark"], line["label"], line["seed"], line["dtype"]


def form(value):
    return "-" if value is None else f"{value:.1e}"


def table(lines):
    """The Markdown rows of one table."""
    head = (
        "| problem | median | worst | estimate / error | params | rows | steps "
        "| seconds | compiling | MB |"
    )
    rows = [head, "|" + "---|" * 10]
    for label in dict.fromkeys((line["label"], line["dtype"]) for line in lines):
        own = [x for x in lines if (x["label"], x["dtype"]) == label]
        field = FIELD.get(label[0], "rel_l2")
        errors = [x[field] for x in own if x.get(field) is not None]
        if not errors:
            rows.append(f"| {label[0]} | {own[0]['result']} |" + " - |" * 8)
            continue
        ratios = [
            x["error_estimate"] / x["rel_l2"] for x in own if x.get("error_estimate")
        ]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "none given"
        name = label[0] if label[1] == "float64" else f"{label[0]}, {label[1]}"

        def median(field, own=own):
            return statistics.median(x[field] for x in own)

        # Lines of before it was recorded have none.
        peaks = [x["peak_memory_bytes"] for x in own if x.get("peak_memory_bytes")]
        peak = f"{max(peaks) / 1e6:.0f}" if peaks else "-"

        rows.append(
            f"| {name} | {form(statistics.median(errors))} | {form(max(errors))} "
            f"({len(errors)}) | {spread} | {median('params'):.0f} | {median('rows'):.0f} "
            f"| {median('steps'):.0f} | {median('seconds'):.1f} "
            f"| {median('compile_seconds'):.1f} | {peak} |"
        )
    devices = sorted({str(line["device"]) for line in lines})
    return "\n".join([f"Device: {', '.join(devices)}.", "", *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marks", nargs="+", default=["default", "alone", "energies"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--dtype", nargs="+", default=["float64"])
    parser.add_argument("--write-only", action="store_true")
    given = parser.parse_args()
    LINES.parent.mkdir(exist_ok=True)
    text = LINES.read_text() if LINES.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    known = {key_of(line) for line in lines}
    for mark in given.marks:
        for row in [] if given.write_only else TABLES[mark]:
            for seed in given.seeds:
                for dtype in given.dtype:
                    if (mark, row[0], seed, dtype) in known:
                        continue
                    lines.append(run(mark, row, seed, dtype))
                    with LINES.open("a") as file:
                        file.write(json.dumps(lines[-1]) + "\n")
                    print(lines[-1]["label"], seed, lines[-1].get("rel_l2"), flush=True)
        own = [line for line in lines if line["mark"] == mark]
        if own:
            report.replace(mark, table(own))


if __name__ == "__main__":
    main()
