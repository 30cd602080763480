"""A solver of Diffrax whose steps end where the function does, not its parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.evolve.conserving import Ramp
from sobng.evolve.path import Path
from sobng.evolve.pulled import pulled
from sobng.precision import matmul


TOLERANCE = 1e-10
"""What more corrections may change at the end of a step, relative to the function."""


class Stages(NamedTuple):
    """The coefficients of an explicit Runge-Kutta method."""

    nodes: np.ndarray
    matrix: np.ndarray
    weights: np.ndarray


def stages(solver: Any) -> Stages:
    """The coefficients of a solver of Diffrax.

    **Raises:** `ValueError` if it has none, or is implicit.
    """
    array = lambda *numbers: np.asarray(numbers, float)
    if isinstance(solver, dfx.Euler):
        return Stages(array(0), np.zeros((1, 1)), array(1))
    tableau = getattr(solver, "tableau", None)
    if not isinstance(solver, dfx.AbstractERK) or not isinstance(
        tableau, dfx.ButcherTableau
    ):
        raise ValueError(
            "Steps are corrected towards the combination of slopes that an explicit "
            "Runge-Kutta method of Diffrax takes, such as `diffrax.Dopri8()`. Got "
            f"{type(solver).__name__}. Take such a method, or for stiff equations "
            "`sobng.FittedRungeKutta(diffrax.Kvaerno3())` without `corrections`."
        )
    matrix = np.zeros((len(tableau.b_sol),) * 2)
    for i, row in enumerate(tableau.a_lower, start=1):
        matrix[i, :i] = row
    return Stages(array(0, *tableau.c), matrix, tableau.b_sol)


class Correcting(dfx.AbstractWrappedSolver):
    r"""Steps of a Runge-Kutta method, whose ends are corrected as functions.

    The stages $\theta_i$ are those of another solver, in the parameters. The end of the step
    is then pulled, in the metric of the motion, to what the same combination makes of the
    right-hand side itself, $u_n + h \sum_i b_i F(u_{\theta_i})$: since
    $(\theta, w)' = (J^+ F(u_\theta), F(u_\theta))$ is one system, the target has the order
    of the method too, but knows neither the damping of the velocity nor how far parameters
    went that hardly change the function.

    The error of a step is the one that the other solver sees, in the parameters: measured as
    that of a function it allows longer steps, but as many are refused. Its order stays.

    ??? cite "Reference"

        Chen, McCarran, Vizcaino, Soljačić, Luo: TENG: time-evolving natural gradient for
        solving PDEs with deep neural nets (ICML 2024, arXiv 2404.10771), whose targets are
        those of Euler and Heun.
    """

    # Diffrax declares class variables, and its own wrappers have these as here.
    solver: dfx.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    corrections: int = eqx.field(static=True)

    @property
    def term_structure(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self):  # pyright: ignore
        return self.solver.term_compatible_contr_kwargs

    @property
    def interpolation_cls(self):  # pyright: ignore
        return Ramp(self.solver.interpolation_cls)

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        return self.solver.init(terms, t0, t1, y0, args)

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del made_jump  # each step begins beside the end of the last one
        free, error, dense, solver_state, result = self.solver.step(
            terms, t0, t1, y0, args, solver_state, True
        )
        motion, given = args
        kind = y0.dtype
        begin, step = jnp.asarray(t0, kind), jnp.asarray(t1 - t0, kind)
        made = stages(self.solver)
        cast = lambda numbers: jnp.asarray(numbers, kind)
        states = y0[None]
        if "k" in dense:
            states = states + matmul(cast(made.matrix), dense["k"])

        def slope(both):
            node, y = both
            t = begin + node * step
            u = motion.field(t, y, given)
            return motion.rows(lambda x: motion.evolution.rhs(u, t, x, given))

        slopes = jax.lax.map(slope, (cast(made.nodes), states))
        target = motion.rows(motion.field(begin, y0, given))
        target = target + step * matmul(cast(made.weights), slopes)
        pull = pulled(
            motion,
            begin + step,
            lambda u: u,
            target,
            free,
            given,
            corrections=self.corrections,
            tolerance=TOLERANCE,
        )
        piece = self.solver.interpolation_cls(t0=t0, t1=t1, **dense)
        recorded = {
            "inner": dense,
            "correction": pull.state - piece.evaluate(t1),
            "mismatch": jnp.stack([pull.before, pull.after]),
            "count": jnp.asarray(pull.count, kind),  # a path is filled with nan
        }
        return pull.state, error, recorded, solver_state, result


def mismatches(paths: Sequence[Path]) -> tuple[np.ndarray, int]:
    """What each step of some paths missed of its target, before and after it was
    corrected, relatively, and the number of corrections."""
    infos = [path.infos for path in paths if path.infos is not None]
    # Invariants wrap what was corrected.
    parts = [part for info in infos for part in (info, info.get("inner", {}))]
    found = [part for part in parts if "mismatch" in part]
    sizes = [part["mismatch"] for part in found]
    num = sum(int(np.sum(part["count"])) for part in found)
    return np.concatenate(sizes) if sizes else np.zeros((0, 2)), num
