"""Runge-Kutta steps of functions: every stage is a field, fitted to its target."""

from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.evolve.pulled import implicit_goal, pulled


CALM = 1e-4
"""The damping of the velocity between the ends of steps, as that of a motion: parameters that
hardly change the function would overshoot there."""


class FittedRungeKutta(dfx.AbstractAdaptiveSolver):
    r"""Steps the field as a function: its parameters are fitted to what a step aims at.

    With the coefficients $a_{ij}, b_i$ of an explicit or diagonally implicit method, the
    stages of a step from $u_n$ are fields $U_i = u_{\theta_i}$ for which

    $$\theta_i = \arg\min_\theta \Big\|u_\theta - h a_{ii} F(u_\theta) - u_n -
    h \sum_{j < i} a_{ij} F(U_j)\Big\|,$$

    in the metric of [`sobng.evolve`][], and the end of the step is fitted to $u_n + h \sum_i
    b_i F(U_i)$ unless it is the last stage. Each fit is a few damped Gauss-Newton
    corrections, so that a step leaves the tangent space that it began in: its error is
    that of the method plus what the field cannot represent, and the motion of parameters
    that matter little to the function does not limit it. Boundary conditions that are not
    built in are rows of every fit. For stiff equations take a stiffly accurate implicit
    method: its stages are solved as they stand, linearised as functions, and the velocity
    of the parameters is used between the steps only, to interpolate.

    A correction is tried with several dampings, of which the one with the least residual is
    taken: one factorisation for all. Undamped ones diverge along parameters that hardly
    change the function.

    The error of a step is relative to the size of the function in the metric, and is spread
    over the parameters so that tolerances of `stepsize_controller` mean just that. Where
    features are frozen the fit would be exact, and their own solver is taken.

    !!! example

        ```python
        import diffrax as dfx
        import sobng as sn

        solver = sn.FittedRungeKutta(dfx.Kvaerno3())
        # sn.evolve(evolution, network, ..., solver=solver)
        ```

    ??? cite "Reference"

        Chen, McCarran, Vizcaino, Soljačić, Luo: TENG: time-evolving natural gradient for
        solving PDEs with deep neural nets (ICML 2024, arXiv 2404.10771). We differ in:
        implicit stages, any order, derivatives in the metric, and damping instead of a
        choice of parameters.
    """

    solver: Any
    tolerance: Any
    corrections: int = eqx.field(static=True)

    term_structure: ClassVar = dfx.AbstractTerm
    interpolation_cls: ClassVar = dfx.ThirdOrderHermitePolynomialInterpolation

    def __init__(
        self,
        solver: Any,
        *,
        corrections: int = 4,
        tolerance: float = 1e-10,
    ):
        """**Arguments:**

        - `solver`: a Runge-Kutta solver of Diffrax whose coefficients are taken, for
            instance `diffrax.Bosh3()`, `diffrax.Tsit5()` or, for stiff equations,
            `diffrax.Kvaerno3()` and `diffrax.Kvaerno5()`.
        - `corrections`: the most Gauss-Newton corrections of a fit; what is left then is
            part of the error.
        - `tolerance`: what may be left, relative to the function, for a fit to end sooner.

        **Raises:** `ValueError` if the solver has no coefficients, or there is no correction.
        """
        tableau = getattr(solver, "tableau", None)
        if not isinstance(tableau, dfx.ButcherTableau):
            raise ValueError(
                "Stages are fitted for one explicit or diagonally implicit Runge-Kutta "
                "method of Diffrax, such as `diffrax.Bosh3()` or `diffrax.Kvaerno3()`. "
                f"Got {solver!r}."
            )
        diagonal = tableau.a_diagonal
        if diagonal is not None and diagonal[0] != 0:
            raise ValueError(
                "The first stage of a fitted method is the beginning of the step. Got "
                f"{type(solver).__name__}, whose is implicit. Use `diffrax.Kvaerno3()`."
            )
        if not isinstance(corrections, int) or corrections < 1:
            raise ValueError(
                f"`corrections` is a positive integer. Got {corrections!r}."
            )
        self.solver = solver
        self.corrections = corrections
        self.tolerance = tolerance

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        return _calm(terms, t0, y0, args)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del made_jump
        motion, given = args
        kind = y0.dtype
        t0, step = jnp.asarray(t0, kind), jnp.asarray(t1 - t0, kind)
        tableau, speed = self.solver.tableau, solver_state

        def slope(t, y):
            u = motion.field(t, y, given)
            return motion.rows(lambda x: motion.evolution.rhs(u, t, x, given))

        begun = earlier = motion.rows(motion.field(t0, y0, given))
        y, slopes, left = y0, [slope(t0, y0)], jnp.zeros((), kind)
        diagonal = tableau.a_diagonal
        nodes = [0.0, *map(float, tableau.c)]
        implicit = [0.0] * len(nodes) if diagonal is None else [*map(float, diagonal)]
        for i, lower in enumerate(tableau.a_lower, start=1):
            target = begun + step * _combined(lower, slopes)
            t, part = t0 + nodes[i] * step, implicit[i]
            earlier = motion.rows(motion.field(t0 + nodes[i - 1] * step, y, given))
            y, after = self._fit(motion, t, step, part, target, y, given)
            slopes.append(slope(t, y))
            left = jnp.maximum(left, after)
        if not _ends_with_stage(tableau):
            target = begun + step * _combined(tableau.b_sol, slopes)
            y, after = self._fit(motion, t0 + step, step, 0.0, target, y, given)
            left = jnp.maximum(left, after)
        size = lambda rows: jnp.linalg.norm(motion.scale * rows)
        if _compares_stages(tableau):
            # Slopes of a stiff equation magnify what the fits leave, fields do not.
            wrong = motion.rows(motion.field(t0 + step, y, given)) - earlier
        else:
            wrong = step * _combined(tableau.b_error, slopes)
        error = size(wrong) / jnp.maximum(size(begun), jnp.finfo(kind).tiny) + left
        last = _calm(terms, t0 + step, y, args)
        dense = {"y0": y0, "y1": y, "k0": step * speed, "k1": step * last}
        return y, error * jnp.abs(y0), dense, last, dfx.RESULTS.successful

    def _fit(self, motion, t, step, part, target, guess, given):
        """The parameters for which `u - part step F(u)` is the target, and what is left of
        the fit, relatively."""
        goal = implicit_goal(motion, t, part * step, given) if part else lambda u: u
        pull = pulled(
            motion,
            t,
            goal,
            target,
            guess,
            given,
            corrections=self.corrections,
            tolerance=self.tolerance,
        )
        return pull.state, pull.left


def _calm(terms: Any, t: Any, y: Array, args: Any) -> Array:
    """The velocity of what the function depends on."""
    motion, given = args
    damping = jnp.full_like(motion.damping, CALM)
    motion = eqx.tree_at(lambda m: m.damping, motion, damping)
    return terms.vf(t, y, (motion, given))


def _ends_with_stage(tableau: dfx.ButcherTableau) -> bool:
    """Whether the last stage is the end of the step."""
    diagonal = 0.0 if tableau.a_diagonal is None else tableau.a_diagonal[-1]
    last = np.append(tableau.a_lower[-1], diagonal)
    return bool(np.allclose(last, tableau.b_sol, rtol=0, atol=1e-12))


def _compares_stages(tableau: dfx.ButcherTableau) -> bool:
    """Whether the last stage and the one before are the two solutions compared."""
    if tableau.a_diagonal is None or not _ends_with_stage(tableau):
        return False
    before = np.append(tableau.a_lower[-2], [tableau.a_diagonal[-2], 0.0])
    found = np.asarray(tableau.b_sol) - np.asarray(tableau.b_error)
    return bool(np.allclose(found, before, rtol=0, atol=1e-12))


def _combined(coefficients: Any, slopes: list[Array]) -> Float[Array, " rows"]:
    return sum(
        (float(a) * k for a, k in zip(coefficients, slopes, strict=True)),
        start=jnp.zeros_like(slopes[0]),
    )
