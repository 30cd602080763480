"""A right-hand side costs at most three times its matrix products at GEMM speed.

    python -m pytest --benchmarks tests/benchmarks/test_right_hand_side_cost.py -s

From 1,000 rows and 300 parameters up, in float64. The speed of GEMM is that of one product
of square matrices. Frozen features: two products with tables, for the stages of an
exponential step at once, as the solver asks for them. A network whose parameters all move:
an orthogonal factorisation of its Jacobian over the damping, which is counted as the product
of that matrix with its transpose. Seconds are those of the processor, the least of nine:
other work on the machine only adds to them.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng.evolve.features import count, feature_unknown, points_for, rule
from sobng.evolve.moving import moving
from sobng.evolve.projection import galerkin, setting


STAGES = 6
SQUARE = 1500
MOST = 3.0

CIRCLE = sn.Interval(-1.0, 1.0)
EVOLUTION = sn.Evolution(
    lambda u, t, x, args: 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x),
    lambda x: -jnp.sin(jnp.pi * x[0]),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)


def least(function, *args, repeats=9):
    """Seconds of a compiled function, of the processor."""
    compiled = eqx.filter_jit(function)
    jax.block_until_ready(compiled(*args))
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        jax.block_until_ready(compiled(*args))
        times.append(time.process_time() - begun)
    return min(times)


@pytest.fixture(scope="module")
def speed():
    """Operations a second of a large product."""
    a, b = jr.normal(jr.key(0), (2, SQUARE, SQUARE))
    return 2 * SQUARE**3 / least(jnp.matmul, a, b)


def show(name, seconds, operations, speed):
    ratio = seconds / (operations / speed)
    print(f"\n{name}: {1e3 * seconds:.2f} ms, {ratio:.2f} times its products")
    return ratio


@pytest.mark.parametrize("bandwidth", [250.0, 500.0])
def test_frozen_features(bandwidth, speed):
    small = feature_unknown(EVOLUTION, 2.0, 8, 0.0, None, jr.key(0))
    made = setting(EVOLUTION, small, 0.0, 1.0, None, jr.key(1))
    num = count(EVOLUTION, bandwidth)
    unknown = feature_unknown(EVOLUTION, bandwidth, num, 0.0, None, jr.key(2))
    points, weights = rule(EVOLUTION, points_for(EVOLUTION, bandwidth, num))
    held_out, _ = CIRCLE.interior.sample(64, jr.key(3))
    motion = galerkin(made, unknown, points, weights, held_out, jr.key(4))
    y, _ = motion.start(jnp.asarray(0.0), None)
    ys = jnp.stack([y] * STAGES)
    times = jnp.linspace(0.0, 1.0, STAGES)
    assert motion.project.shape[1] >= 1000 and y.size >= 300

    def stages(motion, times, ys):
        return jax.vmap(lambda t, y: motion.velocity(t, y, None))(times, ys)

    def products(motion, ys):
        flat = motion.table.entries @ ys.T
        return flat, motion.project @ flat[: motion.project.shape[1]]

    tables = motion.table.entries.size + motion.project.size
    operations = 2 * STAGES * tables
    name = f"{motion.project.shape[1]} rows, {y.size} functions"
    show(f"{name}, products alone", least(products, motion, ys), operations, speed)
    ratio = show(name, least(stages, motion, times, ys), operations, speed)
    assert ratio < MOST


@pytest.mark.parametrize("width", [16, 24])
def test_all_parameters(width, speed):
    inner = sn.MLP(2, width=width, depth=2, key=jr.key(0))
    field = sn.PeriodicEmbedding(inner, {0: 2.0})
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(sn.partition(field)[0]))
    motion = moving(
        EVOLUTION, field, 0.0, 1.0, None, jr.key(1), num=max(1000, 3 * size)
    )
    y, _ = motion.start(jnp.asarray(0.0), None)
    rows = len(motion.points)
    assert rows >= 1000 and y.size >= 300
    velocity = lambda motion, y: motion.velocity(0.0, y, None)
    jacobian = lambda motion, y: motion.jacobian(
        lambda y: motion.field(0.0, y, None), y
    )
    operations = 2 * (rows + y.size) * y.size**2
    name = f"{rows} rows, {y.size} parameters"
    show(f"{name}, Jacobian alone", least(jacobian, motion, y), operations, speed)
    ratio = show(name, least(velocity, motion, y), operations, speed)
    assert ratio < MOST
