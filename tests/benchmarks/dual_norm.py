"""Measures dual norms of residuals, and writes its section of docs/geometry.md.

    python tests/benchmarks/dual_norm.py [--seeds 0 1 2 3 4] [--steps 150]

Part one: does the dual norm follow the error along a run, where the L2 norm does not?
Part two: does training in the norm dual to H2 reach a smaller L2 error?
"""

import argparse
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
sys.path.insert(0, str(ROOT))

WIDTH = 20
ORDERS = (0, -1, -2)


@eqx.filter_jit
def train(system, exact, domain, fine, norms, steps):
    """The H1 and L2 errors and the residual in all norms, before every step and at the
    end."""
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
    """What `train` sees, on rules of about `num` and `fine` points."""
    domain = problem.domain
    points = map(jnp.asarray, domain.interior.quadrature(fine))
    fine = tuple(points)
    norms = [
        sn.SobolevNorm(order, homogeneous=True).on(domain.interior, *fine)
        for order in ORDERS
    ]
    system = sn.System(problem, field, sn.discretise(problem, num, key=jr.key(0)))
    return np.asarray(train(system, exact, None, fine, norms, steps))


def ratios(steps, seeds):
    """Rows of the first table."""
    import problems.advection_diffusion_1d
    import problems.poisson_2d

    rows = []
    for file, num, fine in (
        (problems.poisson_2d, 400, 1600),
        (problems.advection_diffusion_1d, 200, 600),
    ):
        case = file.case()
        for seed in seeds:
            field = sn.MLP(case.problem.dim, width=WIDTH, key=jr.key(seed))
            field = sn.impose(case.problem, field)
            seen = history(case.problem, field, case.reference, num, fine, steps)
            spread = [np.ptp(np.log(seen[:, 0] / seen[:, i])) for i in (2, 3)]
            ends = seen[[0, -1], 0]
            rows.append((case.name, seed, *ends, *np.exp(spread)))
            print(rows[-1], flush=True)
    return rows


def cosines(x):
    return jnp.sum(jnp.cos(jnp.pi * x))


def bubble(x):
    return jnp.prod(4 * x * (1 - x))


def extended(x):
    return (1 - bubble(x)) * cosines(x)


def poisson(u, x, args):
    return sn.laplacian(u)(x) - sn.laplacian(cosines)(x)


def contest(dim, num, fine, steps, seeds):
    """Rows of the second table: errors by training in L2, and in the dual of H2."""
    cube = sn.Box((0.0,) * dim, (1.0,) * dim)
    rows = []
    for order in (0, -2):
        norm = sn.SobolevNorm(order) if order else None
        problem = sn.Problem(
            sn.Condition(poisson, cube.interior, norm=norm),
            sn.Dirichlet(cube.boundary, cosines, name="wall"),
        )
        for seed in seeds:
            field = sn.MLP(dim, width=WIDTH, key=jr.key(seed), domain=cube)
            field = sn.Constrained(field, extended, bubble, ("wall",))
            seen = history(problem, field, cosines, num, fine, steps)
            rows.append((dim, order, seed, *seen[-1, :2]))
            print(rows[-1], flush=True)
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
        start, end = (span([row[i] for row in own], "{:.0e}") for i in (2, 3))
        far, near = (span([row[i] for row in own], "{:.3g}") for i in (4, 5))
        lines.append(f"| `{name}` | {start}, then {end} | {far} | {near} |")
    return lines


def table_of_errors(rows):
    lines = [
        "| dimension | trained in | $L^2$ error: median | spread | H1 error: median |",
        "|---|---|---|---|---|",
    ]
    for dim, order in dict.fromkeys(row[:2] for row in rows):
        own = [row for row in rows if row[:2] == (dim, order)]
        errors = [row[4] for row in own]
        label = "the dual of $H^2$" if order else "$L^2$"
        lines.append(
            f"| {dim} | {label} | {statistics.median(errors):.1e} "
            f"| {span(errors, '{:.1e}')} ({len(own)}) "
            f"| {statistics.median(row[3] for row in own):.1e} |"
        )
    return lines


def write(lines):
    """Replaces what stands between the marks of the page."""
    page = PAGE.read_text()
    begin, end = "<!-- dual-norm:begin -->", "<!-- dual-norm:end -->"
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
    first = ratios(given.steps, given.seeds)
    second = contest(2, 900, 1600, given.steps, given.seeds)
    second += contest(3, 1728, 4096, given.steps, given.seeds[:3])
    caption = (
        f"Tanh networks of one layer of {WIDTH}, {given.steps} steps of Gauss-Newton"
    )
    write([f"{caption}.", "", *table_of_ratios(first), "", *table_of_errors(second)])


if __name__ == "__main__":
    main()
