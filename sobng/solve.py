"""The first driver: from a problem and a field to a solution."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.random as jr
from jaxtyping import PyTree

from sobng.checks import check_statement, check_unknown
from sobng.collocation import PointPlan
from sobng.exact import impose
from sobng.fields.partition import linear_leaves, partition
from sobng.loop import Loop
from sobng.points import Points
from sobng.problem import Energy, Problem
from sobng.settings import Settings
from sobng.solution import Solution
from sobng.solvers.adjoint import attach
from sobng.stages.all_parameters import AllParameters
from sobng.stages.choice import choose_field
from sobng.stages.stage import AbstractStage
from sobng.stages.strategy import default_stages
from sobng.system import System
from sobng.threads import lapack_threads


def solve(
    problem: Problem | Energy,
    field: PyTree | None = None,
    solver: Any = None,
    *,
    key: Any,
    stages: Sequence[AbstractStage] | None = None,
    collocation: Any = None,
    args: Any = None,
    max_steps: int = 10_000,
    time_limit: float | None = None,
    tolerance: float | None = None,
    observe: Any = None,
    callbacks: Sequence[Callable] = (),
    progress: Callable | None = None,
    checkpoint: Any = None,
    throw: bool = False,
) -> Solution:
    """Solves a problem with a neural field.

    !!! example

        ```python
        import jax, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, interval.interior,
                         name="poisson"),
            sn.Dirichlet(interval.boundary, 0.0),
        )
        solution = sn.solve(problem, key=jax.random.key(0))
        solution(jax.numpy.array([0.5])), solution.error
        ```

    **Main arguments:**

    - `problem`: a [`sobng.Problem`][] or [`sobng.Energy`][].
    - `field`: any `eqx.Module` from a point to a value, or a dict of such and of arrays
        (unknown coefficients). It is never replaced or resized. `None` lets sobng choose.
    - `solver`: moves all parameters: a solver of sobng or Optimistix, or an Optax
        transformation. `None` runs the stages.
    - `key`: a JAX random key.

    **Other arguments:**

    - `stages`: what moves when; see [`sobng.strategy`][].
    - `collocation`: points: a [`sobng.Collocation`][], about how many in the interior, a
        sampler, or a dict from conditions' names to samplers.
    - `args`: handed to every residual untouched. The solution is differentiable in
        it (`jax.grad`, `jax.jvp`), by the implicit function theorem.
    - `max_steps`: the most steps of all stages together.
    - `time_limit`: the most seconds, compilation not counted.
    - `tolerance`: the relative L2 error to stop at; as accurate as it gets by default.
    - `observe`: of which part of the unknown the error is estimated, as in
        [`sobng.Case`][].
    - `callbacks`: functions of a [`sobng.Record`][], called after every look.
    - `progress`: for instance [`sobng.TextProgress`][]; called as callbacks are.
    - `checkpoint`: a path, or a [`sobng.Checkpoint`][]. If the file is there the run
        resumes from it, and ends bit for bit where it would have ended.
    - `throw`: raise an error if the run fails (numbers that are not finite, a singular
        system); otherwise the result says so.

    **Returns:** a [`sobng.Solution`][], with the best field that was found.

    **Raises:** `ValueError` if the problem, the field or an argument cannot be used.
    """
    settings = Settings.checked(
        max_steps=max_steps,
        time_limit=time_limit,
        tolerance=tolerance,
        callbacks=callbacks,
        progress=progress,
        checkpoint=checkpoint,
        observe=observe,
    )
    if not isinstance(problem, Problem | Energy):
        raise ValueError(
            f"`solve` needs a `Problem` or an `Energy`. Got {type(problem).__name__}. "
            "Wrap conditions as `sobng.Problem(...)`."
        )
    if not isinstance(key, jax.Array):
        raise ValueError(
            f"`key` is a JAX random key, `jax.random.key(0)`. Got {key!r}."
        )
    if stages is None:
        stages = default_stages() if solver is None else (AllParameters(solver),)
    elif solver is not None:
        raise ValueError(
            "Give `solver` or `stages`, not both: a solver is the stage "
            "`sobng.AllParameters(solver)`."
        )
    field_key, point_key, run_key = jr.split(key, 3)
    owned = field is None
    if owned:
        field = choose_field(problem, stages, field_key)
    # Under `jax.grad` the arguments are tracers that have values: the run needs these,
    # and the derivative is attached to its end.
    values = jax.tree.map(value_of, args)
    _check_concrete(values)
    check_unknown(problem, field)
    unknown = impose(problem, field)
    check_statement(problem, unknown, values)
    loop, solution = run_stages(
        problem,
        unknown,
        values,
        stages,
        settings,
        point_key,
        run_key,
        collocation,
        owned,
    )
    if throw:
        loop.raise_failure()
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
        return _differentiable(solution, problem, loop, args, values)
    return solution


def run_stages(
    problem: Problem | Energy,
    unknown: PyTree,
    args: Any,
    stages: Sequence[AbstractStage],
    settings: Settings,
    point_key: Any,
    run_key: Any,
    collocation: Any = None,
    owned: bool = False,
) -> tuple[Loop, Solution]:
    """All stages on a statement that is known to be a good one."""
    moving = _moving(unknown, stages)
    share = moving / _rows_per_point(problem, unknown, args)
    points = Points(PointPlan(problem, collocation, share, point_key))
    loop = Loop(problem, unknown, args, points, stages, settings, run_key, owned)
    with lapack_threads(moving):
        return loop, loop.run()


def value_of(leaf: Any) -> Any:
    """What a tracer of `jax.grad` or `jax.jvp` stands for."""
    return jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.core.Tracer) else leaf


def _differentiable(solution, problem, loop, args, values) -> Solution:
    """The solution with its derivative in `args`, by the implicit function theorem."""
    if isinstance(problem, Energy):
        raise ValueError(
            "The minimiser of an `Energy` cannot be differentiated in `args` yet. State "
            "its equation as a `Problem`."
        )
    system = System(problem, solution.field, loop.points.training)
    jacobian = system.jacobian(system.params, values)
    params = attach(system.params, lambda p: system.residual(p, args), jacobian)
    return eqx.tree_at(lambda s: s.field, solution, system.unknown(params))


def _moving(unknown: PyTree, stages: Sequence[AbstractStage]) -> int:
    """How many numbers move together at most: all, or the last layer's."""
    params, _ = partition(unknown)
    if stages and stages[0].name == "last-layer":
        chosen, _ = eqx.partition(params, linear_leaves(unknown))
        params = chosen if jax.tree.leaves(chosen) else params
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _rows_per_point(problem: Problem | Energy, unknown: PyTree, args: Any) -> int:
    """How many numbers the interior conditions ask for at one point."""
    dtype = PointPlan.dtype_of(unknown)
    point = jax.ShapeDtypeStruct((problem.dim,), dtype)
    rows = [
        jax.eval_shape(lambda x, c=c: c.residual(unknown, x, args), point).size
        for c in problem.conditions
        if not c.region.is_boundary
    ]
    return max(1, sum(rows))


def _check_concrete(args: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
        raise ValueError(
            "`solve` runs a host loop and cannot be inside `jit` or `vmap`. Call "
            "`optimistix.least_squares(system.residual, solver.on(system), ...)` there."
        )
