"""Exponential collocation: a stiff linear part exactly, the rest to high order."""

import math
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from sobng.evolve.rates import Rates


def _legendre(stages: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss nodes on [0, 1], Legendre coefficients from values there, and the monomial
    coefficients of the shifted Legendre polynomials."""
    nodes, weights = np.polynomial.legendre.leggauss(stages)
    degrees = np.arange(stages)
    values = np.polynomial.legendre.legvander(nodes, stages - 1)
    project = (2 * degrees + 1)[:, None] / 2 * (values * weights[:, None]).T
    monomials = np.zeros((stages, stages))
    for k in degrees:
        for j in range(k + 1):
            sign = (-1) ** (k + j)
            monomials[k, j] = sign * math.comb(int(k), j) * math.comb(int(k) + j, j)
    return (1 + nodes) / 2, project, monomials


def phi_functions(z: Complex[Array, " modes"], num: int) -> Complex[Array, "num modes"]:
    r"""$\varphi_1, \dots, \varphi_{num}$ with $\varphi_k(z) =
    \int_0^1 e^{(1 - s) z} s^{k-1} / (k-1)!\, ds$."""
    small = jnp.abs(z) < 2
    near = jnp.where(small, z, jnp.zeros_like(z))
    far = jnp.where(small, jnp.full_like(z, 2), z)
    # The series of the last one, then downwards, where nothing cancels.
    series = [1 / math.factorial(j + num) for j in reversed(range(26))]
    # In a loop, as one after another these lines took a third of the compilation.
    last, _ = jax.lax.scan(
        lambda last, term: (last * near + term, None),
        jnp.zeros_like(z),
        jnp.asarray(series, z.dtype),
    )
    below = [last]
    for k in reversed(range(1, num)):
        below.append(near * below[-1] + 1 / math.factorial(k))
    below = below[::-1]
    above = [jnp.expm1(far) / far]
    for k in range(1, num):
        above.append((above[-1] - 1 / math.factorial(k)) / far)
    return jnp.stack(
        [jnp.where(small, a, b) for a, b in zip(below, above, strict=True)]
    )


def legendre_integrals(
    theta: Any, z: Complex[Array, " modes"], stages: int
) -> Complex[Array, "stages modes"]:
    r"""$\int_0^\theta e^{(\theta - s) z} P_k(2 s - 1)\, ds$ for each $k$."""
    _, _, monomials = _legendre(stages)
    theta = jnp.asarray(theta, z.dtype)
    powers = phi_functions(theta * z, stages)
    scale = [math.factorial(j) * theta ** (j + 1) for j in range(stages)]
    scaled = jnp.stack([c * p for c, p in zip(scale, powers, strict=True)])
    return jnp.asarray(monomials, z.dtype) @ scaled


class ExponentialInterpolation(dfx.AbstractLocalInterpolation):
    """The step's own formula, at any time inside the step."""

    rates: Rates
    t0: Any
    t1: Any
    y0: Float[Array, " r"]
    forcing: Float[Array, "stages r"]

    def evaluate(self, t0, t1=None, left=True):
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        kind = self.rates.values.dtype
        step = jnp.asarray(self.t1 - self.t0, self.y0.dtype)
        theta = jnp.asarray(t0 - self.t0, self.y0.dtype)
        theta = theta / jnp.where(step == 0, jnp.ones_like(step), step)
        z = step.astype(kind) * self.rates.values
        weights = legendre_integrals(theta, z, self.forcing.shape[0])
        start = jnp.exp(theta.astype(kind) * z) * self.rates.modes(self.y0)
        moved = jnp.sum(weights * self.rates.modes(self.forcing), axis=0)
        return self.rates.real_form(start + step.astype(kind) * moved)


class ExponentialGauss(dfx.AbstractAdaptiveSolver):
    r"""Gauss collocation for $y' = \Lambda y + N(t, y)$, exact in the linear part.

    The stages solve

    $$Y_i = e^{c_i h\Lambda} y_0 + h \int_0^{c_i} e^{(c_i - s) h\Lambda}\,
    p(s)\, ds, \qquad p(c_j) = N(t_0 + c_j h, Y_j),$$

    with a polynomial $p$ through all of them, by fixed-point iteration from the polynomial
    of the last step. All stages are evaluated at once, as one matrix product. The order
    is twice the number of stages where $N$ is smooth; a linear equation takes one step,
    however long.

    The default of [`sobng.evolve`][] on frozen features, which knows their rates.

    ??? cite "Reference"

        Hochbruck, Ostermann: Exponential Runge-Kutta methods for parabolic problems
        (Appl. Numer. Math. 2005), collocation methods. We differ in: Legendre
        coefficients instead of Lagrange polynomials, and a diagonal linear part.
    """

    rates: Rates
    tolerance: Any
    stages: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)
    derivatives: bool = eqx.field(static=True)

    term_structure: ClassVar = dfx.AbstractTerm
    interpolation_cls: ClassVar = ExponentialInterpolation

    def __init__(
        self,
        rates: Rates,
        *,
        stages: int = 6,
        iterations: int = 30,
        tolerance: Any = 1e-14,
        derivatives: bool = False,
    ):
        """**Arguments:**

        - `rates`: of the linear part.
        - `stages`: collocation points of a step.
        - `iterations`: the most of the fixed point; a step that needs more is shortened.
        - `tolerance`: the change, relative to the state, at which the iteration stops.
        - `derivatives`: steps for derivatives in what the rates depend on, too. The
            linear part of a solution is exact, that of its derivatives is collocated.
        """
        self.rates = rates
        self.stages = stages
        self.iterations = iterations
        self.tolerance = jnp.asarray(tolerance)
        self.derivatives = derivatives

    def order(self, terms):
        return 2 * self.stages

    def error_order(self, terms):
        return self.stages + 1

    def init(self, terms, t0, t1, y0, args):
        start = terms.vf(t0, y0, args) - self.rates(y0)
        empty = jnp.zeros((self.stages - 1, y0.size), y0.dtype)
        return jnp.concatenate([start[None], empty]), jnp.ones((), y0.dtype)

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del made_jump
        nodes, project, _ = _legendre(self.stages)
        kind = y0.dtype
        step = jnp.asarray(t1 - t0, kind)
        rates = self.rates.values
        length = step.astype(rates.dtype)
        z = length * rates
        ends = jnp.asarray([*nodes, 1.0], kind)
        weights = jax.vmap(lambda c: legendre_integrals(c, z, self.stages))(ends)
        inner, last = weights[:-1], weights[-1]
        first = self.rates.modes(y0)
        grown = jnp.stack([jnp.exp(float(c) * z) * first for c in nodes])
        times = jnp.asarray(t0, kind) + jnp.asarray(nodes, kind) * step
        scale = self.tolerance.astype(kind) * jnp.linalg.norm(y0)

        def at_nodes(forcing):
            modes = self.rates.modes(forcing)
            moved = jnp.einsum("ikm,km->im", inner, modes)
            return self.rates.real_form(grown + length * moved)

        def force(ys):
            full = jax.vmap(lambda t, y: terms.vf(t, y, args))(times, ys)
            return jnp.asarray(project, kind) @ (full - self.rates(ys))

        def body(carry):
            ys, _, _, count = carry
            forcing = force(ys)
            new = at_nodes(forcing)
            change = jnp.max(jnp.abs(new - ys), axis=0)
            return new, forcing, change, count + 1

        def more(carry):
            _, _, change, count = carry
            size = jnp.linalg.norm(change)
            going = (size > scale) & jnp.isfinite(size)
            return (count < 2) | (going & (count < self.iterations))

        def fixed_point(_, guess):
            begun = (at_nodes(guess), guess, jnp.full_like(y0, jnp.inf), 0)
            _, forcing, change, _ = jax.lax.while_loop(more, body, begun)
            return forcing, change

        # Loops have no reverse derivative. A fixed point has one, by the implicit function
        # theorem, and a forward one too.
        forcing, change = jax.lax.custom_root(
            lambda forcing: forcing - force(at_nodes(forcing)),
            self._extrapolated(solver_state, step),
            fixed_point,
            self._linear_fixed_point,
            has_aux=True,
        )
        moved = jnp.sum(last * self.rates.modes(forcing), axis=0)
        end = jnp.exp(z) * first + length * moved
        error = self._error(step, z, forcing) + change
        if self.derivatives:
            flow = jnp.asarray(project, kind) @ self.rates(at_nodes(forcing))
            error = error + self._error(step, z, flow)
        y1 = self.rates.real_form(end)
        dense = {"y0": y0, "forcing": forcing, "rates": self.rates}
        # Norms of zero have no derivative, and a controller uses none.
        error = jax.lax.stop_gradient(error)
        return y1, error, dense, (forcing, step), dfx.RESULTS.successful

    def _linear_fixed_point(self, matvec, vector):
        """Solves with the identity less a contraction, as the steps themselves do."""
        rounding = 64 * jnp.finfo(vector.dtype).eps
        tolerance = jnp.maximum(self.tolerance.astype(vector.dtype), rounding)

        def solve(matvec, vector):
            def body(carry):
                x, _, count = carry
                left = vector - matvec(x)
                return x + left, jnp.linalg.norm(left), count + 1

            def more(carry):
                x, size, count = carry
                going = (size > tolerance * jnp.linalg.norm(x)) & jnp.isfinite(size)
                return (count < 1) | (going & (count < self.iterations))

            begun = (vector, jnp.zeros((), vector.dtype), 0)
            return jax.lax.while_loop(more, body, begun)[0]

        return jax.lax.custom_linear_solve(
            matvec, vector, solve=solve, transpose_solve=solve
        )

    def _extrapolated(self, solver_state, step):
        """The Legendre coefficients of the last step's polynomial, on this step."""
        forcing, before = solver_state
        nodes, project, _ = _legendre(self.stages)
        kind = forcing.dtype
        # Where this step's nodes lie, seen from the last one.
        far = 1 + jnp.asarray(nodes, kind) * step / before
        rows = [jnp.ones_like(far), 2 * far - 1]
        for k in range(1, self.stages - 1):
            rows.append(
                ((2 * k + 1) * (2 * far - 1) * rows[-1] - k * rows[-2]) / (k + 1)
            )
        values = jnp.stack(rows[: self.stages], axis=1) @ forcing
        # Too long a step makes nonsense of it: then the value at its end.
        calm = step <= 1.5 * before
        values = jnp.where(calm, values, jnp.sum(forcing, axis=0))
        return jnp.asarray(project, kind) @ values

    def _error(self, step, z, forcing):
        """The last coefficient, less by as much as coefficients decay."""
        last, other = jnp.linalg.norm(forcing[-1]), jnp.linalg.norm(forcing[-2])
        tiny = jnp.finfo(forcing.dtype).tiny
        decay = last / jnp.maximum(jnp.maximum(last, other), tiny)
        weight = 1 / jnp.maximum(jnp.abs(z), 1)
        stiff = jnp.concatenate([weight, weight[self.rates.real.size :]])
        return decay * step * stiff * jnp.abs(forcing[-1])
