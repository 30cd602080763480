"""The second driver: from an evolution and a field to a solution in time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.evolve.checks import (
    check_concrete,
    check_controller,
    check_corrections,
    check_derivable,
    check_evolution,
    check_field,
    check_metric,
    check_steps,
    check_times,
    check_tolerance,
    is_traced,
)
from sobng.evolve.invariants import conserved
from sobng.evolve.replay import differentiable
from sobng.evolve.run import Run
from sobng.evolve.saved import saved, times_of
from sobng.evolve.solution import Evolved
from sobng.results import RESULTS
from sobng.settings import Settings
from sobng.solve import value_of
from sobng.threads import lapack_threads


def evolve(
    evolution: Any,
    field: PyTree | None = None,
    t0: Any = 0.0,
    t1: Any = 1.0,
    *,
    metric: Any = None,
    solver: Any = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    saveat: Any = None,
    event: Any = None,
    conserve: Any = (),
    corrections: Any = 0,
    key: Any,
    args: Any = None,
    max_steps: Any = 100_000,
    time_limit: float | None = None,
    tolerance: float | None = None,
    observe: Any = None,
    callbacks: Sequence[Callable] = (),
    progress: Callable | None = None,
    checkpoint: Any = None,
    throw: bool = False,
) -> Evolved:
    """Solves an evolution by stepping a field in time with Diffrax.

    !!! example

        ```python
        import jax, jax.numpy as jnp
        import sobng as sn

        circle = sn.Interval(-1.0, 1.0)


        def burgers(u, t, x, args):
            return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


        evolution = sn.Evolution(
            burgers,
            lambda x: -jnp.sin(jnp.pi * x[0]),
            circle,
            boundary=[sn.Periodic(circle, 0)],
        )
        solution = sn.evolve(
            evolution, t0=0.0, t1=1.0, key=jax.random.key(0), tolerance=1e-5
        )
        solution(1.0, jnp.array([0.3])), solution.error
        ```

    Without a field, sine features stay fixed and their coefficients move: the right-hand
    side is projected orthogonally on their span, its linear part is made diagonal, and
    [`sobng.ExponentialGauss`][] steps it. More features take over as soon as these miss
    too much of it. Runs that aim at smaller and smaller errors follow until two agree,
    and their difference is the estimate of the error. A field of yours moves in its last
    layer, if that follows the right-hand side to a millionth; else all its parameters
    move, on points that follow it in boxes. `stats["motion"]` says which.

    **Main arguments:**

    - `evolution`: a [`sobng.Evolution`][].
    - `field`: a field of a point in space, or `None` to let sobng choose.
    - `t0`, `t1`: the interval of time.
    - `key`: a JAX random key.

    **Other arguments:**

    - `metric`: a [`sobng.SobolevMetric`][] of integer order in which the right-hand side is
        projected, with derivatives of it; $L^2$ by default. Order one keeps slopes, which
        costs derivatives of one order more.
    - `solver`: a Diffrax solver, for instance `diffrax.Kvaerno5()`; by default exponential
        steps for features and `diffrax.Dopri8()` for all parameters.
    - `stepsize_controller`, `dt0`, `event`: as in `diffrax.diffeqsolve`; the state is the
        vector of coefficients or parameters, and its size that of the norm of the metric
        for features.
    - `saveat`: a `diffrax.SaveAt`: its times become `solution.ts`, with estimates of the
        error, and its `fn(t, y, args)` is given the *field* at each time as `y` and
        fills `solution.ys`, stacked along the first axis. With `subs` all three are
        PyTrees of its form. The solution can be evaluated at all times anyway.
    - `conserve`: integrands `f(u, x, args)`, real numbers at one point, whose integrals
        over the domain (not means) stay as they are at first, to rounding, at the ends
        of all steps: velocities are projected along them in $L^2$ for features, in the
        parameters otherwise. `stats["drift"]` is the largest change of each, relative to
        the first integral of its absolute value.
    - `corrections`: where all parameters of a field of yours move, the most Gauss-Newton
        corrections that pull the end of each step, as a function and in the metric, to
        what the Runge-Kutta method makes of the right-hand side itself.
        `stats["corrections"]` is how many were taken, and `stats["mismatch"]` the
        largest mismatch before and after them. None by default.
    - `args`: handed to all functions of the evolution, instead of its own. The solution
        is differentiable in it (`jax.grad`, `jax.jvp`), through the accepted steps; not
        yet with `conserve`, `corrections` or an implicit solver.
    - `max_steps`: the most accepted steps of a run, of which several with other aims
        may follow one another.
    - `time_limit`: the most seconds, compilation not counted. One that is too short for
        one run is shared by two to an earlier time.
    - `tolerance`: the relative L2 error at the last time to stop at; as accurate as it
        gets by default. Where an error passes it for good the solution ends.
    - `observe`: of which components the error is estimated, as in [`sobng.Case`][].
    - `callbacks`, `progress`: functions of a [`sobng.Record`][], called every few dozen
        steps, with the projection residual as `held_out`.
    - `checkpoint`: a path, or a [`sobng.Checkpoint`][]. If the file is there the run
        resumes from it, and ends bit for bit where it would have ended. It holds all
        steps so far, and is written anew once their number grew by an eighth at least.
    - `throw`: raise an error if the run blows up; otherwise the result says so, and all
        times before can be used.

    **Returns:** a [`sobng.Evolved`][].

    **Raises:** `ValueError` if the statement or an argument cannot be used.
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
    t0, t1 = check_times(t0, t1)
    if not isinstance(key, jax.Array):
        raise ValueError(
            f"`key` is a JAX random key, `jax.random.key(0)`. Got {key!r}."
        )
    args = getattr(evolution, "args", None) if args is None else args
    # Under `jax.grad` the arguments are tracers that have values: the run needs these,
    # and its steps are taken again for the derivative.
    traced, args = args, jax.tree.map(value_of, args)
    evolution = jax.tree.map(value_of, evolution)
    check_concrete(args, "`evolve` runs a host loop and cannot be in `jit` or `vmap`")
    check_evolution(evolution, t0, args)
    check_tolerance(tolerance, jnp.result_type(float))
    check_steps(solver, stepsize_controller, dt0, event, saveat)
    check_corrections(corrections, field, solver)
    check_controller(stepsize_controller, evolution, t0, t1, args)
    if field is not None:
        check_field(evolution, field)
    times = times_of(saveat, t0, t1)
    kept = conserved(conserve, evolution, args, key)
    if is_traced(traced):
        check_derivable(solver, kept.integrands, corrections)
    run = Run(
        evolution,
        t0,
        t1,
        args,
        settings,
        times,
        key,
        jet=check_metric(metric, evolution.dim),
        solver=solver,
        controller=stepsize_controller,
        dt0=dt0,
        event=event,
        conserved=kept,
        corrections=corrections,
        field=field,
    )
    with lapack_threads(1):
        found = run.solve()
    if throw and bool(found.result == RESULTS.blew_up):
        raise RuntimeError(RESULTS[found.result])
    if is_traced(traced):
        found = differentiable(found, run, traced)
    return found if saveat is None else saved(found, saveat)
