"""Measures dual norms of residuals, and writes its section of docs/geometry.md.

    python tests/benchmarks/dual_norm.py [--seeds 0 1 2 3 4] [--steps 150]

Runs are kept in out/dual_norm.jsonl, so that one that was broken off goes on.

Part one: does the dual norm follow the error along a run, where the L2 norm does not?
Part two: does training in the norm dual to H1, or to H2, reach a smaller error?
"""

import argparse
import json
import pathlib
import statistics
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import sobng as sn


ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "geometry.md"
LINES = ROOT / "out" / "dual_norm.jsonl"
sys.path.insert(0, str(ROOT))

from problems import advection_diffusion_1d, poisson_2d  # noqa: E402


WIDTH = 20


@eqx.filter_jit
def train(system, exact, fine, norms, steps):
    """The H1 and L2 errors and the residual in some norms, before every step and at the
    end: one row for each."""
    solver = sn.GaussNewton().on(system)
    points, weights = fine
    condition = next(c for c in system.problem.conditions if c.name in system.names)

    def fn(params, args):
        return system.residual(params, args), None

    def measure(params):
        u = system.unknown(params)
        gap = lambda x: u(x) - exact(x)
        values = jax.vmap(gap)(points)
        slopes = jax.vmap(jax.grad(gap))(points)
        squares = (jnp.sum(weights * values**2), jnp.sum(weights[:, None] * slopes**2))
        rows = jax.vmap(lambda x: condition.residual(u, x, None))(points)
        rows = jnp.sqrt(weights) * rows
        sizes = [jnp.linalg.norm(norm(rows)) for norm in norms]
        return jnp.stack([jnp.sqrt(sum(squares)), jnp.sqrt(squares[0]), *sizes])

    def step(carry, _):
        params, state = carry
        seen = measure(params)
        params, state, _ = solver.step(fn, params, None, {}, state, frozenset())
        return (params, state), seen

    state = solver.init(fn, system.params, None, {}, None, None, frozenset())
    (params, _), seen = jax.lax.scan(step, (system.params, state), length=steps)
    return jnp.concatenate([seen, measure(params)[None]])


def history(problem, field, exact, num, fine, steps):
    """What `train` sees in the orders 0 and -1, trained on a rule of about `num` points and
    seen on one of about `fine`."""
    inside = problem.domain.interior
    rule = tuple(map(jnp.asarray, inside.quadrature(fine)))
    norms = [sn.SobolevNorm(s, homogeneous=True).on(inside, *rule) for s in (0, -1)]
    system = sn.System(problem, field, sn.discretise(problem, num, key=jr.key(0)))
    return np.asarray(train(system, exact, rule, norms, steps))


def kept(key, run):
    """A key with the numbers of its run, which is looked up if it is known."""
    lines = LINES.read_text().splitlines() if LINES.exists() else []
    for line in map(json.loads, lines):
        if line["key"] == list(key):
            return *key, *line["numbers"]
    numbers = [float(number) for number in run()]
    LINES.parent.mkdir(exist_ok=True)
    with LINES.open("a") as file:
        file.write(json.dumps({"key": key, "numbers": numbers}) + "\n")
    print(*key, *numbers, flush=True)
    return *key, *numbers


def ratios(steps, seeds):
    """Rows of the first table."""
    rows = []
    for file, num, fine in (
        (poisson_2d, 400, 1600),
        (advection_diffusion_1d, 300, 900),
    ):
        case = file.case()

        def run(seed, case=case, num=num, fine=fine):
            field = sn.MLP(case.problem.dim, width=WIDTH, key=jr.key(seed))
            field = sn.impose(case.problem, field)
            seen = history(case.problem, field, case.reference, num, fine, steps)
            spread = [np.ptp(np.log(seen[:, 0] / seen[:, i])) for i in (2, 3)]
            return *seen[[0, -1], 0], *np.exp(spread)

        for seed in seeds:
            key = (case.name, "ratio", steps, seed)
            rows.append(kept(key, lambda s=seed, run=run: run(s)))
    return rows


def cosines(x):
    return jnp.sum(jnp.cos(jnp.pi * x))


def bubble(x):
    return jnp.prod(4 * x * (1 - x))


def extended(x):
    return (1 - bubble(x)) * cosines(x)


def poisson(u, x, args):
    return sn.laplacian(u)(x) - sn.laplacian(cosines)(x)


def cosine_sum(dim):
    """Problem, constraint and solution of the cosine sum."""
    cube = sn.Box((0.0,) * dim, (1.0,) * dim)
    problem = sn.Problem(
        sn.Condition(poisson, cube.interior),
        sn.Dirichlet(cube.boundary, cosines, name="wall"),
    )

    def constrained(field):
        return sn.Constrained(field, extended, bubble, ("wall",))

    return problem, constrained, cosines


def layer():
    """The same of the problem with a boundary layer."""
    case = advection_diffusion_1d.case()
    return case.problem, lambda f: sn.impose(case.problem, f), case.reference


def contest(name, setting, num, fine, steps, seeds):
    """Rows of the second table: errors by training in L2 and in dual norms."""
    problem, constrained, exact = setting
    equation, wall = problem.conditions
    rows = []
    for order in (0, -1, -2):
        norm = sn.SobolevNorm(order) if order else None
        own = sn.Condition(equation.function, equation.region, norm=norm)
        problem = sn.Problem(own, wall)

        def run(seed, problem=problem):
            domain = problem.domain
            field = sn.MLP(domain.dim, width=WIDTH, key=jr.key(seed), domain=domain)
            seen = history(problem, constrained(field), exact, num, fine, steps)
            return seen[-1, :2]

        for seed in seeds:
            key = (name, order, steps, seed)
            rows.append(kept(key, lambda s=seed, run=run: run(s)))
    return rows


def span(values, form):
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def table_of_ratios(rows):
    lines = [
        "| problem | H1 error, start to end | largest over smallest ratio of the H1 error "
        "to the $L^2$ norm | to the dual norm of order -1 |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == name]
        start, end = (span([row[i] for row in own], "{:.0e}") for i in (4, 5))
        far, near = (span([row[i] for row in own], "{:.3g}") for i in (6, 7))
        lines.append(f"| `{name}` | {start}, then {end} | {far} | {near} |")
    return lines


def table_of_errors(rows):
    lines = [
        "| problem | order of the norm | $L^2$ error: median | spread | H1 error: median |",
        "|---|---|---|---|---|",
    ]
    for name, order in dict.fromkeys(row[:2] for row in rows):
        own = [row for row in rows if row[:2] == (name, order)]
        errors = [row[5] for row in own]
        lines.append(
            f"| {name} | {order} | {statistics.median(errors):.1e} "
            f"| {span(errors, '{:.1e}')} "
            f"| {statistics.median(row[4] for row in own):.1e} |"
        )
    return lines


def write(mark, lines):
    """Replaces what stands between the marks of the page."""
    page = PAGE.read_text()
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    text = "\n".join(lines)
    PAGE.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    sn.enable_x64()
    write("dual-ratio", table_of_ratios(ratios(given.steps, given.seeds)))
    rows = []
    for name, setting, num, fine in (
        ("cosine sum, 2-D", cosine_sum(2), 900, 1600),
        ("cosine sum, 3-D", cosine_sum(3), 1728, 4096),
        ("boundary layer, 1-D", layer(), 300, 900),
    ):
        rows += contest(name, setting, num, fine, given.steps, given.seeds)
    write("dual-contest", table_of_errors(rows))


if __name__ == "__main__":
    main()
