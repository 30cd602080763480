"""What a dense step of Gauss-Newton costs beside its matrix products, on one core.

    OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \\
        taskset -c 0 python tests/benchmarks/step.py [--scaling]

Poisson's equation on the unit square with exact boundary; a network of two hidden layers of
tanh whose parameters all move; a step after `--warm` steps, when the radius has settled. Each
size in a process of its own, so that its peak memory is its own. Seconds are those of the
processor (on a GPU of the clock), the least of `--repeats`: other work only adds to them.

- *Jacobian*: `System.jacobian` alone; *factorisation*: from it to a model that is solved for
  any damping; *trials*: the search with that model, dampings, steps and residuals; *rest*:
  the whole step less these.
- *Products*, in operations: 2 `rows` `params`^2, as many as $J^T J$ takes; the
  products of the network with its matrices, for each channel of a point (value, `dim` first
  derivatives, Laplacian), forward, back and outer in the Jacobian, forward in each trial.
  Nothing of the size `params`^3 is counted.
- *GEMM*: the speed of one product of square matrices of 1,500 rows, in the same process.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import report

import sobng as sn
from sobng.exact import impose
from sobng.linalg.factorisation import LinearMap
from sobng.search.search import Trial
from sobng.solvers.route import route


LINES = report.ROOT / "out" / "step.jsonl"
SQUARE = 1500
SIZES = [(3000, 29), (6000, 29), (6000, 42), (12000, 42), (12000, 52)]
"""Rows, and the width of both hidden layers: 987, 1975 and 2965 parameters."""
SCALING = {
    "rows": [(rows, 29, 2) for rows in (3000, 6000, 12000)],
    "params": [(6000, width, 2) for width in (20, 29, 42)],
    "dim": [(3000, 29, dim) for dim in (2, 4, 8)],
}
"""The first two double, the width of the layers by the root of two."""
PREDICTED = {"rows": 1.0, "params": 2.0, "dim": 0.0}
"""Exponents of 2 `rows` `params`^2, which leads."""


def system_of(rows: int, width: int, dim: int) -> sn.System:
    box = sn.Box((0.0,) * dim, (1.0,) * dim)
    wave = lambda x: jnp.prod(jnp.sin(jnp.pi * x))
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x) + dim * jnp.pi**2 * wave(x),
            box.interior,
            name="equation",
        ),
        sn.Dirichlet(box.boundary, 0.0, name="wall"),
    )
    inner = sn.MLP(dim, width=width, depth=2, domain=box, key=jax.random.key(0))
    field = impose(problem, inner)
    sampler = {"equation": sn.Sobol(rows)}
    return sn.System(
        problem,
        field,
        sn.discretise(problem, sampler=sampler, key=jax.random.key(1)),
    )


def least(function, *args, repeats):
    """Seconds of a compiled function, and its result."""
    on_cpu = jax.default_backend() == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    result = jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        begun = clock()
        jax.block_until_ready(function(*args))
        times.append(clock() - begun)
    return min(times), result


def measure(rows: int, width: int, dim: int, warm: int, repeats: int) -> dict:
    sn.enable_x64()
    system = system_of(rows, width, dim)
    solver = sn.GaussNewton().on(system)
    fn = lambda y, args: (system.residual(y, args), None)
    y = system.params
    state = solver.init(fn, y, None, {}, None, None, frozenset())
    step = eqx.filter_jit(
        lambda y, state: solver.step(fn, y, None, {}, state, frozenset())
    )
    for _ in range(warm):
        y, state, _ = step(y, state)
    # Compilation included, which the smallest sizes consist of.
    seconds, (_, after, _) = least(step, y, state, repeats=repeats)
    stats = jax.devices()[0].memory_stats() or {}
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = stats.get("peak_bytes_in_use", host)

    jacobian, matrix = least(eqx.filter_jit(system.jacobian), y, repeats=repeats)
    chosen = route(system, True, None, None)
    factorise = eqx.filter_jit(
        lambda matrix, y, residual: chosen.least_squares(
            LinearMap(system.num_params, lambda: matrix, None, None, None, None),
            residual,
            None,
            0.1,
        )
    )
    factorisation, model = least(factorise, matrix, y, state.residual, repeats=repeats)

    def search(model, y, state):
        flat, unravel = jfu.ravel_pytree(y)
        old = state.residual

        def trial(step):
            new = system.residual(unravel(flat + step))
            return Trial(step, 0.5 * jnp.sum((old - new) * (old + new)), new)

        return solver.search.search(model, trial, state.search_state)

    trials, outcome = least(eqx.filter_jit(search), model, y, state, repeats=repeats)
    residual, _ = least(eqx.filter_jit(system.residual), y, repeats=repeats)
    shrink = solver.search.span ** (-2 / (solver.search.trials - 1))
    full = min(state.search_state.radius * solver.search.span, model.length(0.0))
    num = 1 + round(math.log(outcome.state.radius / full) / math.log(shrink))

    a, b = jax.random.normal(jax.random.key(0), (2, SQUARE, SQUARE))
    gemm = 2 * SQUARE**3 / least(jax.jit(jnp.matmul), a, b, repeats=9)[0]
    params = system.num_params
    weights = width * (dim + width + 1)
    network = 2 * rows * weights * (dim + 2)
    operations = 2 * rows * params**2 + (3 + num) * network
    return {
        "rows": rows,
        "params": params,
        "dim": dim,
        "step": seconds,
        "jacobian": jacobian,
        "factorisation": factorisation,
        "trials": trials,
        "num_trials": num,
        "residual": residual,
        "rest": seconds - jacobian - factorisation - trials,
        "gemm": gemm,
        "products": operations / gemm,
        "ratio": seconds * gemm / operations,
        "peak_memory_bytes": peak,
        "error": float(jnp.sqrt(2 * after.info.loss)),
    }


def apart(rows, width, dim, options) -> dict:
    """In a process of its own; or as it was measured before, from out/step.jsonl."""
    size = [rows, width, dim]
    kept = LINES.read_text().splitlines() if LINES.exists() else []
    for line in map(json.loads, kept):
        if line["size"] == size:
            return line
    command = [sys.executable, __file__, "--one", str(rows), str(width), str(dim)]
    command += ["--warm", str(options.warm), "--repeats", str(options.repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    line = json.loads(done.stdout.splitlines()[-1]) | {"size": size}
    LINES.parent.mkdir(exist_ok=True)
    with LINES.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
    return line


def table(lines) -> str:
    head = (
        "| rows | params | dim | step | Jacobian | factorisation | trials | rest | products "
        "| step / products | GEMM, Gflop/s | MB |"
    )
    rows = [
        f"| {x['rows']} | {x['params']} | {x['dim']} | {x['step']:.2f} | {x['jacobian']:.2f} "
        f"| {x['factorisation']:.2f} | {x['trials']:.2f} ({x['num_trials']}) "
        f"| {x['rest']:.2f} | {x['products']:.2f} | {x['ratio']:.2f} "
        f"| {x['gemm'] / 1e9:.0f} | {x['peak_memory_bytes'] / 1e6:.0f} |"
        for x in lines
    ]
    return "\n".join([head, "|" + "---|" * 12, *rows])


def exponent(sizes, values) -> float:
    """The slope of a line through the logarithms."""
    x = [math.log(size) for size in sizes]
    y = [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)


def plot(groups: dict[str, list[dict]]) -> str:
    """Seconds over what doubles, with fitted exponents; a sentence for the page."""
    from matplotlib import rc_context

    from sobng.plotting.style import COLOURS, new_figure, style

    with style(), rc_context({"svg.hashsalt": "step", "svg.fonttype": "none"}):
        figure = new_figure((9.0, 3.2))
        axes = figure.subplots(1, len(groups))
        said = []
        for axis, (what, lines) in zip(axes, groups.items(), strict=True):
            sizes = [line[what] for line in lines]
            for colour, part in zip(
                COLOURS, ("step", "products", "jacobian"), strict=False
            ):
                values = [line[part] for line in lines]
                fitted = exponent(sizes, values)
                label = f"{part}, {fitted:.2f}"
                axis.plot(sizes, values, "o-", ms=3, lw=1.3, color=colour, label=label)
                if part == "step":
                    said.append(f"{what} {fitted:.2f} ({PREDICTED[what]:g})")
            axis.set(xscale="log", yscale="log", xlabel=what)
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
            axis.legend(fontsize=7)
        axes[0].set_title("seconds, with fitted exponents", fontsize=9)
        figure.savefig(report.IMAGES / "step_cost.svg", metadata={"Date": None})
    return "Exponents of the step, predicted in brackets: " + ", ".join(said) + "."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, type=int)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--sizes", type=int, default=len(SIZES))
    parser.add_argument("--warm", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.warm, options.repeats)))
        return
    if options.scaling:
        groups = {
            what: [apart(*size, options) for size in sizes]
            for what, sizes in SCALING.items()
        }
        every = [line for lines in groups.values() for line in lines]
        text = f"{plot(groups)}\n\n{table(every)}"
        report.replace("step-scaling", text)
        return
    lines = [apart(*size, 2, options) for size in SIZES[: options.sizes]]
    report.replace("step", table(lines))


if __name__ == "__main__":
    main()
