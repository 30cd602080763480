"""One run of one method, in a process and on a core of its own.

    python tests/benchmarks/race.py METHOD STATEMENT SEED SECONDS FILE

Run by bench.py with the interpreter of the method's own environment. The file gets one
JSON line for each look at the error, and a last one that sums up.
"""

import importlib
import json
import math
import resource
import sys
import time
import traceback

import numpy as np
from methods import METHODS
from statements import STATEMENTS


class Unable(Exception):
    """A method that cannot run a statement; the message is the reason."""


class Race:
    """The clock of a run, and how the error fell on it.

    The clock counts the seconds that this process computed (`time.process_time`), so that
    a busy machine does not count; it stands still during looks. Until `start` is called,
    they count as compilation.
    """

    FIRST, RATIO = 0.01, 1.12
    """Seconds of the first look, and the ratio of two times at which one looks again."""

    def __init__(self, name: str, seed: int, seconds: float, file):
        self.name = name
        self.statement = statement = STATEMENTS[name]
        self.seed = seed
        self.seconds = seconds
        self.params = 0
        self.points = 0
        self.result = "ran"
        self.started = False
        self.compile_seconds = 0.0
        self._file = file
        self._where = statement.evaluation()
        self._wanted = statement.solution(self._where)
        self._began = time.process_time()
        self._wall = time.perf_counter()
        self._next = 0.0

    def start(self) -> None:
        """Sets the clock to zero; the first time, what went before is compilation."""
        if not self.started:
            self.compile_seconds = self.elapsed()
        self.started = True
        self._began = time.process_time()
        self._next = 0.0

    def elapsed(self) -> float:
        return time.process_time() - self._began

    def look(self, values_at, *, seconds: float | None = None, last=False) -> bool:
        """Measures the error now and then; whether there is time left.

        `values_at(points)` are the values of the unknown at points `[n, dim]`, as the user
        would get them now. `seconds` is for methods that keep a better clock.
        """
        now = self.elapsed() if seconds is None else seconds
        over = last or now >= self.seconds
        if not over and now < self._next:
            return True
        paused = time.process_time()
        found = np.asarray(values_at(self._where), np.float64).reshape(-1)
        error = np.linalg.norm(found - self._wanted) / np.linalg.norm(self._wanted)
        finite = math.isfinite(error)
        self._write({"seconds": now, "error": float(error) if finite else None})
        self._next = max(self.FIRST, self.RATIO * now)
        self._began += time.process_time() - paused
        if not finite:
            self.result = f"not finite at {now:.0f} s"
        return finite and not over

    def refine(self, sizes, solve) -> None:
        """For methods that do not iterate: solves anew with more and more unknowns, each
        on a clock of its own, while the next one is likely to end in time.

        `solve(size)` returns `values_at`, as for `look`.
        """
        for size in sizes:
            self.start()
            if not self.look(solve(size)) or 8 * self.elapsed() > self.seconds:
                break

    def _write(self, line: dict) -> None:
        print(json.dumps(line), file=self._file, flush=True)

    def close(self) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        share = time.process_time() / (time.perf_counter() - self._wall)
        self._write(
            {
                "result": self.result,
                "params": int(self.params),
                "points": int(self.points),
                "compile_seconds": self.compile_seconds,
                "peak_mb": peak,
                "share_of_core": share,
            }
        )


def main():
    method, statement, seed, seconds, path = sys.argv[1:]
    module, function = METHODS[method].adapter
    with open(path, "w") as file:
        race = Race(statement, int(seed), float(seconds), file)
        try:
            getattr(importlib.import_module(f"methods.{module}"), function)(race)
        except Unable as reason:
            race.result = f"cannot: {reason}"
        # The packages are anybody's code and may fail in any way.
        except Exception as error:
            race.result = f"failed: {type(error).__name__}: {error}".splitlines()[0]
            traceback.print_exc()
        race.close()


if __name__ == "__main__":
    # Adapters import `Unable` from the module `race`, which this is.
    sys.modules["race"] = sys.modules["__main__"]
    main()
