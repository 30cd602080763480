"""What a run in time needs to go on where it was killed: its steps so far, on disk."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from sobng.clock import Clock
from sobng.evolve.attempt import Attempt
from sobng.evolve.galerkin import wall_rows
from sobng.evolve.integrate import Progress, Trip
from sobng.evolve.path import Leg, Path, Route
from sobng.io.checkpoint import Checkpoint, fingerprint, read_leaves, write
from sobng.problem import Evolution
from sobng.results import RESULTS
from sobng.resume import digest


GROWTH = 8
"""A file is written anew when it has to hold this part more steps: so all writes together
cost a fixed multiple of the last one."""

ENDS = {
    name: getattr(RESULTS, name)
    for name in ("successful", "event_occurred", "unresolved", "blew_up", "drifted")
}
"""How trips end that no limit ended."""

LIMITS = {
    name: getattr(RESULTS, name)
    for name in ("time_limit_reached", "interrupted", "nonlinear_max_steps_reached")
}
"""How others end, of which no more than what is compared may be kept."""

REFUSED = "refused"
"""What stands in a part where a time limit left something out."""


class Journal:
    """The parts of a run, in the order in which it makes them: as they are made, or as
    a run before it made them.

    All that lies between is made again, from the same numbers to the same bits; no
    decision looks at the clock, but for those of a time limit.
    """

    def __init__(self, checkpoint: Checkpoint | None, clock: Clock, *identity: Any):
        """**Arguments:**

        - `checkpoint`: where; `None` for nowhere.
        - `clock`: goes on as the run before.
        - `identity`: what makes a run this run, as for a [`sobng.resume.Resumer`][].

        **Raises:** `ValueError` if the file is there and belongs to another run.
        """
        self.checkpoint = checkpoint
        self.clock = clock
        self.parts: list[Part] = []
        self.before: list[Part] = []
        self._last = 0
        if checkpoint is None:
            return
        self._fingerprint = fingerprint(*(digest(part) for part in identity))
        if os.path.exists(checkpoint.path):
            header, leaves = read_leaves(checkpoint.path, self._fingerprint)
            rest = iter(leaves)
            self.before = [_read_part(note, rest) for note in header["parts"]]
            self._last = sum(part.steps for part in self.before)

    def part(self) -> "Part":
        """A new part, or the one that is there in its place."""
        number = len(self.parts)
        there = number < len(self.before)
        self.parts.append(self.before[number] if there else Part())
        return self.parts[-1]

    def trip(
        self,
        motion: Any,
        y: Array,
        shapes: Callable[[], Any],
        make: Callable[..., Trip],
    ) -> Trip:
        """The next trip of the last part, by `make(so_far=..., save=...)`.

        **Arguments:**

        - `motion`, `y`: what it is made of, to the bit.
        - `shapes`: as the function of the same name in `sobng.evolve.integrate`.
        """
        if self.checkpoint is None:
            return make()
        entry = self._next(digest((motion, y)))
        so_far = entry.progress
        if entry.leaves:  # none of a trip that a limit ended in its first segment
            so_far = entry.progress = _restored(entry, shapes())
            entry.leaves = None
            self.clock.go_on(entry.seconds, entry.compile_seconds)

        def save(progress):
            entry.progress, entry.steps = progress, progress.steps
            self._save(entry)

        return make(so_far=so_far, save=save)

    def numbers(self, make: Callable[[], Array]) -> Array:
        """An array of the last part that is made once."""
        if self.checkpoint is None:
            return make()
        entry = self._next("numbers")
        if entry.leaves is None:
            entry.leaves = [make()]
            self._save(entry, now=True)
        else:
            self.clock.go_on(entry.seconds, entry.compile_seconds)
        return jnp.asarray(entry.leaves[0])

    def refused(self, late: Callable[[], bool]) -> bool:
        """What a time limit did to the last part, or does now that it is asked `late()`."""
        if self.checkpoint is None:
            return late()
        part = self.parts[-1]
        if part.read == len(part.entries):
            if late():
                self._next(REFUSED)
                return True
        elif part.entries[part.read].digest == REFUSED:
            part.read += 1
            return True
        return False

    def _next(self, told: str) -> "Entry":
        assert self.checkpoint is not None
        part = self.parts[-1]
        if part.read == len(part.entries):
            part.entries.append(Entry(told))
        entry = part.entries[part.read]
        part.read += 1
        if entry.digest != told:
            raise ValueError(
                f"The run in '{self.checkpoint.path}' cannot be repeated here bit for "
                "bit: another machine, another number of threads or another version of "
                "JAX, NumPy or sobng wrote it. Delete it, or go on there."
            )
        return entry

    def _save(self, entry: "Entry", now: bool = False) -> None:
        checkpoint = self.checkpoint
        assert checkpoint is not None
        entry.seconds = self.clock.seconds
        entry.compile_seconds = self.clock.compile_seconds
        steps = sum(part.steps for part in self.parts)
        held = sum(part.steps for part in self.parts if part.values is None)
        if not now and steps - self._last < max(checkpoint.every, held // GROWTH):
            return
        notes, leaves = [], []
        for part in self.parts:
            note, more = _written_part(part)
            notes.append(note)
            leaves += more
        header = {"fingerprint": self._fingerprint, "parts": notes}
        write(checkpoint.path, header, leaves)
        self._last = steps


@dataclasses.dataclass
class Entry:
    """A trip, or numbers, of this run or as it was read."""

    digest: str
    steps: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    progress: Progress | None = None
    leaves: list[Any] | None = None
    note: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Part:
    """An attempt: its trips, or what is left of them when a better one is there."""

    entries: list[Entry] = dataclasses.field(default_factory=list)
    read: int = 0
    values: np.ndarray | None = None
    times: np.ndarray | None = None
    note: dict[str, Any] = dataclasses.field(default_factory=dict)
    trips: list[Trip] = dataclasses.field(default_factory=list)

    @property
    def steps(self) -> int:
        """All of its steps."""
        return sum(e.steps for e in self.entries) + sum(t.steps for t in self.trips)

    def strip(self, attempt: Attempt) -> None:
        """Keeps what is compared, and none of the states."""
        bare = attempt.bare()
        self.values, self.times = bare.values, bare.times
        self.trips, self.entries = list(bare.trips), []
        names = ("miss", "level", "seconds")
        self.note = {name: getattr(bare, name) for name in names}

    @property
    def attempt(self) -> Attempt | None:
        """The attempt, if that is all that is left of it."""
        if self.values is None or self.times is None:
            return None
        legs = tuple(Leg(None, trip.path) for trip in self.trips)
        known = {"values": self.values, "times": self.times}
        return Attempt(Route(legs), tuple(self.trips), **known, **self.note)


def said(evolution: Evolution, t0: float, t1: float, args: Any) -> tuple[Any, ...]:
    """Numbers that tell one statement from another: functions print alike."""
    points, _ = evolution.domain.interior.sample(8, jr.key(0))
    points = jnp.asarray(points, jnp.result_type(float))
    initial = lambda x: evolution.initial_value(x, args)
    trial = lambda x: initial(x) + jnp.sin(jnp.sum(x) + 1.0)
    found = [jax.vmap(initial)(points)]
    for time in (t0, t0 + 0.7 * (t1 - t0)):
        t = jnp.asarray(time, points.dtype)
        at = lambda x, t=t: jnp.asarray(evolution.rhs(trial, t, x, args))
        found.append(jax.vmap(at)(points))
        for c in evolution.boundary:
            places = jnp.asarray(c.region.quadrature(4)[0], points.dtype)
            found.append(wall_rows((c,), (places,), trial, t, args))
    names = [(c.name, type(c).__name__) for c in evolution.boundary]
    return (t0, t1, names, *found)


def _name(result: Any, ends: dict[str, Any] = ENDS) -> str | None:
    return next(
        (k for k, v in ends.items() if result is not None and bool(result == v)), None
    )


def _written_part(part: Part) -> tuple[dict[str, Any], list[Any]]:
    if part.values is not None:
        notes = [
            {
                "steps": t.steps,
                "rejected": t.rejected,
                "result": _name(t.result, ENDS | LIMITS),
            }
            for t in part.trips
        ]
        leaves = [part.values, part.times]
        for trip in part.trips:
            leaves += [trip.path.ts, trip.path.start, trip.looks]
        return {"bare": part.note, "trips": notes}, leaves
    notes, leaves = [], []
    for entry in part.entries:
        note, more = _written(entry)
        names = ("digest", "steps", "seconds", "compile_seconds")
        note |= {name: getattr(entry, name) for name in names}
        notes.append(note | {"leaves": len(more)})
        leaves += more
    return {"entries": notes}, leaves


def _read_part(note: dict[str, Any], leaves: Any) -> Part:
    if "bare" in note:
        values, times = (np.asarray(next(leaves)) for _ in range(2))
        part = Part(values=values, times=times, note=note["bare"])
        for told in note["trips"]:
            ts, start, looks = (next(leaves) for _ in range(3))
            path = Path(ts, None, start, NotImplementedError)  # never evaluated
            steps, rejected, result = told["steps"], told["rejected"], told["result"]
            end = (ENDS | LIMITS)[result]
            part.trips.append(Trip(path, looks, steps, rejected, end))
        return part
    part = Part()
    for told in note["entries"]:
        told = dict(told)
        found = [next(leaves) for _ in range(told.pop("leaves"))]
        names = ("digest", "steps", "seconds", "compile_seconds")
        entry = Entry(**{name: told.pop(name) for name in names}, note=told)
        entry.leaves = found
        part.entries.append(entry)
    return part


def _written(entry: Entry) -> tuple[dict[str, Any], list[Any]]:
    now = entry.progress
    if now is None:  # as it was read, or numbers
        return dict(entry.note), list(entry.leaves or [])
    joined = lambda *leaves: np.concatenate(leaves)
    infos = jax.tree.leaves(jax.tree.map(joined, *now.infos)) if now.infos else []
    ts = np.concatenate(now.ts) if now.ts else np.zeros((0,))
    groups = [
        [now.time, now.dt, now.state, ts, np.concatenate(now.seen)],
        infos,
        jax.tree.leaves(now.states),
        jax.tree.leaves(now.mask),
        [] if now.beyond is None else list(now.beyond),
    ]
    note = {
        "rejected": now.rejected,
        "result": _name(now.result),
        "groups": [len(group) for group in groups],
    }
    return note, [leaf for group in groups for leaf in group]


def _restored(entry: Entry, shapes: tuple[PyTree, PyTree, PyTree]) -> Progress:
    rest = iter(entry.leaves or [])
    groups = [[next(rest) for _ in range(num)] for num in entry.note["groups"]]
    (time, dt, state, ts, seen), infos, states, mask, beyond = groups

    def like(tree, leaves):
        wanted, structure = jax.tree.flatten(tree)
        found = [w if f is None else f for w, f in zip(wanted, leaves, strict=True)]
        return jax.tree.unflatten(structure, found)

    result = entry.note["result"]
    return Progress(
        time,
        dt,
        state,
        like(shapes[1], states),
        [ts] if len(ts) else [],
        [like(shapes[0], infos)] if infos else [],
        [seen],
        entry.steps,
        entry.note["rejected"],
        None if result is None else ENDS[result],
        like(shapes[2], mask) if mask else None,
        tuple(beyond) if beyond else None,
    )
