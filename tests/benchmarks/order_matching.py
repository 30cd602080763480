"""Measures which metric suits which loss, and writes a table into docs/geometry.md.

    python tests/benchmarks/order_matching.py [--write-only]

Natural gradients with a fixed damping (relative to the mean curvature, the best of a grid
by the median over seeds) and halved steps, the same number for every metric, from the same
networks. What was measured is kept in out/order_matching.jsonl, so that a run that was
broken off goes on; delete the file to measure again.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import sobng as sn
from sobng.search.search import Outcome, Trial


ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "geometry.md"
LINES = ROOT / "out" / "order_matching.jsonl"
SEEDS = range(5)
DAMPINGS = (1e-1, 1e-3, 1e-5, 1e-7, 1e-9)
HALVINGS = 24
STEPS = 100
PI = jnp.pi


class FixedDamping(sn.AbstractSearch):
    """A damping relative to the mean curvature, and the step halved until it helps."""

    relative: jax.Array

    def init(self, dtype):
        return jnp.zeros((), dtype)

    def search(self, model, trial, state):
        damping = self.relative * jnp.sum(model.curvature) / model.gradient.size
        step = model.step(damping)

        def poor(carry):
            count, candidate = carry
            return ~(candidate.decrease > 0) & (count < HALVINGS)

        def halve(carry):
            count, candidate = carry
            return count + 1, trial(candidate.step / 2)

        _, best = jax.lax.while_loop(poor, halve, (0, trial(step)))
        accepted = best.decrease > 0
        kept = Trial(
            jnp.where(accepted, best.step, jnp.zeros_like(step)),
            best.decrease,
            best.payload,
        )
        stalled = jnp.zeros((), bool)
        return Outcome(kept, accepted, stalled, damping, state, state)


class Clamped(eqx.Module):
    """A field times a function that vanishes at both ends with its slope."""

    field: sn.MLP

    def __call__(self, x):
        return 16 * (x[0] * (1 - x[0])) ** 2 * self.field(x)


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss with an exact solution, and the metric that theory prefers."""

    problem: sn.Problem | sn.Energy
    exact: object
    matching: str
    clamped: bool = False

    @property
    def points(self):
        # With fewer an energy is made less than its minimum, between the points.
        in_plane = 900 if isinstance(self.problem, sn.Energy) else 225
        return 120 if self.problem.dim == 1 else in_plane

    def field(self, key):
        network = sn.MLP(
            self.problem.dim,
            width=20 if self.problem.dim == 1 else 24,  # 61 or 97 parameters
            key=key,
            domain=self.problem.domain,
            bandwidth=2.0,
        )
        return Clamped(network) if self.clamped else sn.impose(self.problem, network)


def residual_of(operator, domain, exact, *, walls=True):
    """`operator(u) = operator(exact)` in the mean square, zero at the boundary."""
    condition = sn.Condition(
        lambda u, x, args: operator(u)(x) - operator(exact)(x),
        domain.interior,
        name="equation",
    )
    return sn.Problem(
        condition, *([sn.Dirichlet(domain.boundary, 0.0)] if walls else [])
    )


def ritz(form, source, domain, *, walls=True):
    """The energy of a quadratic form, zero at the boundary."""

    def density(u, x, args):
        return jnp.sum(form(u)(x) ** 2) / 2 - source(x) * u(x)

    conditions = [sn.Dirichlet(domain.boundary, 0.0)] if walls else []
    return sn.Energy(density, domain, conditions=conditions)


def wave_1d(x):
    return jnp.sin(PI * x[0]) + jnp.sin(4 * PI * x[0]) / 4


def wave_2d(x):
    return jnp.sin(PI * x[0]) * jnp.sin(2 * PI * x[1])


def plate(x):
    return jnp.sin(PI * x[0]) ** 2


def cases():
    line, square = sn.Interval(0.0, 1.0), sn.Box((0.0, 0.0), (1.0, 1.0))
    value = lambda u: u
    found = {
        "regression, 1-D": Case(
            residual_of(value, line, wave_1d, walls=False), wave_1d, "L2"
        ),
        "regression, 2-D": Case(
            residual_of(value, square, wave_2d, walls=False), wave_2d, "L2"
        ),
    }
    for dim, domain, exact in (1, line, wave_1d), (2, square, wave_2d):
        minus = lambda x, exact=exact: -sn.laplacian(exact)(x)
        found[f"Poisson, least squares, {dim}-D"] = Case(
            residual_of(sn.laplacian, domain, exact), exact, "H2"
        )
        found[f"Poisson, Ritz, {dim}-D"] = Case(
            ritz(sn.gradient, minus, domain), exact, "H1"
        )
    found["biharmonic, least squares, 1-D"] = Case(
        residual_of(sn.biharmonic, line, plate, walls=False), plate, "H4", True
    )
    found["biharmonic, Ritz, 1-D"] = Case(
        ritz(sn.laplacian, sn.biharmonic(plate), line, walls=False), plate, "H2", True
    )
    return found


def metrics(case):
    """Those that are compared, by name."""
    dim, top = case.problem.dim, 4 if case.clamped else 2
    found = {"Euclidean": sn.EuclideanMetric(), "L2": sn.SobolevMetric(0)}
    for order in range(1, top + 1):
        found[f"H{order}"] = sn.SobolevMetric(order)
    if hasattr(sn, "KernelMetric"):
        for order in (1, 2, 3) if dim == 1 else (1.5, 2, 3):
            kernel = sn.SobolevKernel(order=order, scale=1.0)
            found[f"kernel {order:g}"] = sn.KernelMetric(kernel)
    found["energy"] = sn.EnergyMetric()
    return found


def measured(case, metric, dampings):
    """For each damping the relative L2 errors of all seeds, and milliseconds of a step."""
    points = sn.discretise(case.problem, case.points, key=jr.key(100))
    system = sn.System(case.problem, case.field(jr.key(0)), points, chunk=None)
    solver = sn.NaturalGradient(metric, FixedDamping(jnp.zeros(()))).on(system)
    starts = [
        sn.System(case.problem, case.field(jr.key(seed)), points).params
        for seed in SEEDS
    ]
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    fn = lambda params, args: (system.loss(params), None)
    x, w = case.problem.domain.interior.quadrature(1600)
    x, w = jnp.asarray(x), jnp.asarray(w)
    wanted = jax.vmap(case.exact)(x)

    @jax.jit
    def run(params, relative):
        bound = eqx.tree_at(lambda s: s.search.relative, solver, relative)
        state = bound.init(fn, params, None, {}, None, None, frozenset())
        dynamic, static = eqx.partition(state, eqx.is_array)

        def step(carry, _):
            params, dynamic = carry
            state = eqx.combine(dynamic, static)
            params, state, _ = bound.step(fn, params, None, {}, state, frozenset())
            return (params, eqx.partition(state, eqx.is_array)[0]), None

        (params, _), _ = jax.lax.scan(step, (params, dynamic), length=STEPS)
        found = jax.vmap(system.unknown(params))(x)
        error = jnp.sum(w * (found - wanted) ** 2) / jnp.sum(w * wanted**2)
        return jnp.sqrt(error)

    first = jax.tree.map(lambda leaf: leaf[0], starts)
    run(first, jnp.asarray(1.0)).block_until_ready()
    for damping in dampings:
        begun = time.perf_counter()
        errors = jax.lax.map(
            lambda p, d=damping: run(p, jnp.asarray(d)), starts
        ).tolist()
        seconds = (time.perf_counter() - begun) / (len(SEEDS) * STEPS)
        yield {"damping": damping, "errors": errors, "milliseconds": 1e3 * seconds}


def best(lines):
    """The least median error, and the damping that has it."""
    return min((statistics.median(x["errors"]), x["damping"]) for x in lines)


def write(lines):
    """Replaces what stands between the marks of the page."""
    found = dict.fromkeys(line["metric"] for line in lines)
    columns = sorted(found, key=lambda n: (n == "energy", n[0] == "k", n[0] == "H", n))
    rows = [
        "| loss | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for problem, case in cases().items():
        cells = {name: [] for name in columns}
        for line in lines:
            if line["problem"] == problem:
                cells[line["metric"]].append(line)
        own = {n: best(c) for n, c in cells.items() if len(c) == len(DAMPINGS)}
        if not own:
            continue
        # The energy metric of a least-squares loss is Gauss-Newton: no norm of a field.
        ranked = [name for name in own if name not in ("energy", "Euclidean")]
        winner = min(ranked, key=own.__getitem__)

        def cell(name, own=own, winner=winner, matching=case.matching):
            if name not in own:
                return ""
            error, damping = own[name]
            text = f"{error:.1e} ({damping:.0e})".replace("e-0", "e-").replace(
                "e+00", ""
            )
            text = f"**{text}**" if name == winner else text
            return f"{text} ←" if name == matching else text

        rows.append(f"| {problem} | " + " | ".join(map(cell, columns)) + " |")
    page = PAGE.read_text()
    begin, end = "<!-- order:begin -->", "<!-- order:end -->"
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    table = "\n".join(rows)
    PAGE.write_text(f"{head}{begin}\n\n{table}\n\n{end}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-only", action="store_true")
    given = parser.parse_args()
    sn.enable_x64()
    LINES.parent.mkdir(exist_ok=True)
    text = LINES.read_text() if LINES.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    known = {(line["problem"], line["metric"], line["damping"]) for line in lines}
    for problem, case in cases().items():
        for name, metric in {} if given.write_only else metrics(case).items():
            open_ones = [d for d in DAMPINGS if (problem, name, d) not in known]
            if not open_ones:
                continue
            for found in measured(case, metric, open_ones):
                lines.append({"problem": problem, "metric": name} | found)
                with LINES.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(*lines[-1].values(), flush=True)
            jax.clear_caches()  # or the compiled code of all cells fills the memory
    write(lines)


if __name__ == "__main__":
    main()
