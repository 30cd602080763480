"""Seconds of optimisation and seconds of compilation, kept apart."""

import threading
import time

import jax


class Clock:
    """Counts wall seconds less the time in which JAX traced, lowered or compiled.

    JAX reports every compilation phase when it ends, nested ones too; the union of
    their intervals is what the user waited for. A clock listens only between `start`
    and `stop`.
    """

    def __init__(self, seconds: float = 0.0, compile_seconds: float = 0.0):
        """Continues from the given counts, as a resumed run does."""
        self._before = seconds, compile_seconds
        self._intervals: list[tuple[float, float]] = []
        self._thread = threading.get_ident()
        self._began = time.perf_counter()
        self.compilations = 0

    def start(self) -> "Clock":
        """Begins to count."""
        self._began = time.perf_counter()
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def go_on(self, seconds: float, compile_seconds: float) -> None:
        """Counts on from the given counts, as a resumed run does."""
        self._before = seconds, compile_seconds
        self._intervals = []
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Ends listening; the counts stay readable."""
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_) -> None:
        if not event.startswith("/jax/core/compile/"):
            return
        if threading.get_ident() != self._thread:
            return
        self.compilations += event.endswith("backend_compile_duration")
        begin, end = time.perf_counter() - duration_secs, time.perf_counter()
        # Events end in order, so an interval swallows the nested ones before it.
        while self._intervals and self._intervals[-1][0] >= begin:
            self._intervals.pop()
        if self._intervals and self._intervals[-1][1] > begin:
            begin, _ = self._intervals.pop()
        self._intervals.append((begin, end))

    @property
    def compile_seconds(self) -> float:
        """Seconds of tracing, lowering and compiling."""
        return self._before[1] + sum(end - begin for begin, end in self._intervals)

    @property
    def seconds(self) -> float:
        """All other seconds since the start."""
        wall = time.perf_counter() - self._began
        compiled = sum(end - begin for begin, end in self._intervals)
        return self._before[0] + wall - compiled
