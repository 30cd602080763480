"""What a metric adds to a step, beside the step's own QR, on one thread.

    OPENBLAS_NUM_THREADS=1 XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \\
        taskset -c 0 python tests/benchmarks/cost_of_metrics.py [--points 2000] [--width 250]

Claim: at 2,000 points and 1,000 parameters the factor of the kernel metric costs at most
twice the QR of the Jacobian, which is all that `NaturalGradient` pays for the metric.
`GaussNewton` with any metric also factorises the metric's factor. The kernel matrix is
factorised once for each set of points. All are timed in turns, and the medians are printed
with their ratios to that QR.
"""

import argparse
import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp

import sobng as sn
from sobng.linalg.spectrum import least_squares_spectrum


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--width", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def make_system(num, width):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    problem = sn.Problem(
        sn.Condition(
            lambda u, x, args: sn.laplacian(u)(x) + 1.0,
            square.interior,
            name="equation",
        ),
        sn.Dirichlet(square.boundary, 0.0, exact=False, name="edge"),
    )
    field = sn.MLP(2, width=width, domain=square, key=jax.random.key(0))
    sampler = {"equation": sn.Sobol(num), "edge": sn.Gauss(200)}
    points = sn.discretise(problem, sampler=sampler, key=jax.random.key(1))
    return sn.System(problem, field, points)


def seconds(function):
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def main():
    options = arguments()
    sn.enable_x64()
    system = make_system(options.points, options.width)
    params = system.params
    metric = sn.KernelMetric(sn.SobolevKernel(order=2.2))
    gram = metric.on(system)
    sobolev = sn.SobolevMetric(order=2).on(system)
    jacobian, residual = system.jacobian(params), system.residual(params)
    factor_of = eqx.filter_jit(lambda gram: gram.factor(params))
    factor = factor_of(gram)
    qr = jax.jit(lambda rows: jnp.linalg.qr(rows, mode="r"))
    whiten = jax.jit(lambda triangle, rows: triangle(rows))
    step = jax.jit(lambda *matrices: least_squares_spectrum(*matrices).basis)
    values = jax.random.normal(jax.random.key(2), (options.points, factor.shape[1]))
    timed = {
        "QR of the Jacobian": lambda: qr(jacobian),
        "Jacobian": eqx.filter_jit(lambda: system.jacobian(params)),
        "kernel factor": lambda: factor_of(gram),
        "of this, the triangular solve": lambda: whiten(gram.transform, values),
        "factor of SobolevMetric(2)": lambda: factor_of(sobolev),
        "solve without a metric": lambda: step(jacobian, residual),
        "solve with the metric": lambda: step(jacobian, residual, factor),
        "once for each set of points": lambda: metric.on(system),
    }
    times = {name: [] for name in timed}
    for turn in range(options.repeats + 1):
        for name, function in timed.items():
            taken = seconds(function)
            if turn:  # the first compiles
                times[name].append(taken)
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    unit = middle["QR of the Jacobian"]
    print(
        f"{options.points} points, {factor.shape[1]} parameters, {jacobian.shape[0]} rows"
    )
    for name, taken in middle.items():
        print(f"{name:32} {taken:8.3f} s {taken / unit:6.2f}")
    solves = middle["solve with the metric"] - middle["solve without a metric"]
    print(f"added to `NaturalGradient` {middle['kernel factor'] / unit:6.2f} QR")
    print(f"added to `GaussNewton` {(middle['kernel factor'] + solves) / unit:6.2f} QR")


if __name__ == "__main__":
    main()
