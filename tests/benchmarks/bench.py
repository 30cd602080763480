"""Races the methods on the statements over seeds, and writes docs/benchmarks.md.

    python tests/benchmarks/bench.py [--methods ...] [--problems ...] [--seeds 0 1 ...]
        [--seconds 30] [--core 0] [--write-only]

Every run is race.py in a process and on a core of its own, with the interpreter of its
method's environment, which is made in out/peers when it is first needed. Its looks are
kept in out/race, so that a campaign that was broken off goes on, and that tables and
plots can be written again.
"""

import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys
import venv

import report
from methods import Method, METHODS
from statements import STATEMENTS


HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = ROOT / "out" / "race"
PEERS = ROOT / "out" / "peers"
PATIENCE = 900
"""Wall seconds beyond its own that a run may take, to compile and on a busy machine."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}


def interpreter(method: Method) -> pathlib.Path:
    """The Python of a method's environment, which is made if it is not there."""
    if not method.environment:
        return pathlib.Path(sys.executable)
    folder = PEERS / method.adapter[0]
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(method.environment)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(
            f"Installing {', '.join(method.environment)} into {folder} ...", flush=True
        )
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *method.environment], check=True)
        stamp.write_text(wanted)
    return python


def path_of(name: str, statement: str, seed: int, seconds: float) -> pathlib.Path:
    return RUNS / f"{seconds:g}s" / statement / f"{name}.{seed}.jsonl"


def lines_of(path: pathlib.Path) -> list[dict]:
    """The lines of a run that came to its end; of any other none."""
    if not path.exists():
        return []
    # A process that was killed may have left half a line.
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    lines = [json.loads(line) for line in whole]
    return lines if lines and "result" in lines[-1] else []


def runs_of(statement: str, name: str, seconds: float) -> list[list[dict]]:
    """All finished runs of a method on a statement, in the order of their seeds."""
    folder = path_of(name, statement, 0, seconds).parent
    paths = sorted(
        folder.glob(f"{name}.*.jsonl"), key=lambda p: int(p.suffixes[-2][1:])
    )
    return [lines for path in paths if (lines := lines_of(path))]


def run(name: str, statement: str, seed: int, seconds: float, core: int) -> None:
    """One run, to its last line, whatever happens to it."""
    path = path_of(name, statement, seed, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = interpreter(METHODS[name])
        command = ["taskset", "-c", core, python, "-W", "ignore", HERE / "race.py"]
        command += [name, statement, seed, seconds, path]
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + PATIENCE,
            env=os.environ | ONE_THREAD,
        )
        reason = f"ended with {done.returncode}: {done.stderr.strip()[-80:]}"
    except subprocess.CalledProcessError:
        reason = "could not be installed"
    except subprocess.TimeoutExpired:
        reason = f"did not end within {PATIENCE} s of its time"
    if not lines_of(path):
        with path.open("a") as file:
            print("", json.dumps({"result": f"failed: {reason}"}), sep="\n", file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    names = list(STATEMENTS)
    parser.add_argument("--problems", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--write-only", action="store_true")
    given = parser.parse_args()
    races = itertools.product(given.seeds, given.problems, given.methods)
    for seed, statement, name in [] if given.write_only else races:
        path = path_of(name, statement, seed, given.seconds)
        if not lines_of(path):
            run(name, statement, seed, given.seconds, given.core)
            print(statement, name, seed, report.summary(lines_of(path)), flush=True)
    for statement in given.problems:
        found = {name: runs_of(statement, name, given.seconds) for name in METHODS}
        found = {name: runs for name, runs in found.items() if runs}
        if found:
            section = report.section(statement, found, given.seconds)
            report.replace(f"race-{statement}", section)
    report.replace("settings", report.settings())


if __name__ == "__main__":
    main()
