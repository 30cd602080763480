"""Gauss-Newton for fields in slabs of time, one slab after the other."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from sobng.collocation import Collocation
from sobng.exact import satisfied
from sobng.fields.partition import linear_leaves
from sobng.fields.stretched import stretching_of
from sobng.fields.time_slabs import OVERLAP, piece_of, slabs_of, with_piece
from sobng.geometry.quadrature import gauss
from sobng.geometry.spacetime import SpaceTime
from sobng.linalg.damped import damped_solution
from sobng.once import lean
from sobng.precision import apply, matmul
from sobng.problem import Condition, Problem
from sobng.solvers.info import StepInfo
from sobng.system import System


JOINT = "the slab before"
"""The name of the condition that a slab goes on where the one before ends."""

TIMES, ROWS = 14, 3
"""Gauss points in time, and rows of the equation for each feature of a slab."""

ROUGHLY = 0.7
"""The power of rounding by which the first fit of a slab is damped."""

NEAR, SLOW, MOST = 1.2, 0.3, 12
"""A slab is solved once its loss is so near to the one that the linear model promised, or
has hardly fallen, or after so many steps."""

HALVINGS = 6
"""How often a step is halved at most."""


def marches(problem: Any) -> bool:
    """Whether a problem can be solved from its initial values on: an equation in time and
    one more dimension, with conditions at the start and at the sides."""
    if not (isinstance(problem, Problem) and isinstance(problem.domain, SpaceTime)):
        return False
    if problem.domain.space.dim != 1:
        return False
    ends = {"initial", "final"}
    for condition in problem.conditions:
        if getattr(condition, "norm", None) is not None:
            return False
        names = set(condition.region.names) if condition.region.is_boundary else set()
        if "final" in names or (names & ends and names - ends):
            return False
    return True


def lay(
    problem: Problem, unknown: PyTree, num: int, num_times: int = TIMES
) -> Collocation:
    """Points for every slab of an unknown, with a leading axis that counts the slabs.

    An equation gets Gauss points in time and in the stretched coordinate. A slab reaches
    into the next as far as that one takes over from it. What holds at a boundary weighs as
    the change in a slab that an equation's residual makes.

    **Arguments:**

    - `num`: about how many interior points in each slab.
    - `num_times`: how many of them along time.
    """
    slabs: Any = slabs_of(unknown)
    stretching: Any = stretching_of(unknown)
    begin, end = (float(b[0]) for b in problem.domain.bounds)
    times, share = gauss(-1.0, 1.0, num_times)
    places, room = gauss(-1.0, 1.0, max(2, round(num / num_times)))
    step = (end - begin) / slabs.num

    def inside(first, last):
        span = (last - first) / 2
        tau = 2 * (first + span * (times + 1)) / slabs.num - 1
        cell = np.stack(np.meshgrid(tau, places, indexing="ij"), axis=-1).reshape(-1, 2)
        points, slopes = stretching.inverse(cell)
        return points, step * span * np.outer(share, room).ravel() * slopes

    def start(first):
        cell = np.stack([np.full_like(places, 2 * first / slabs.num - 1), places], 1)
        points, slopes = stretching.inverse(cell)
        return points, room * slopes / step

    def sides(region, first, last):
        points, weights = region.quadrature(num_times)
        part = (points[:, 0] - begin) / (end - begin)
        moved = begin + step * (first + part * (last - first))
        points = np.concatenate([moved[:, None], points[:, 1:]], axis=1)
        return points, weights * (last - first) / slabs.num / step**2

    known = satisfied(unknown)
    regions = {c.name: c.region for c in problem.conditions if c.name not in known}
    laid: dict[str, list] = {name: [] for name in (*regions, JOINT)}
    for first in range(slabs.num):
        last = min(first + 1 + OVERLAP, slabs.num)
        at_start = start(first)
        for name, region in regions.items():
            if not region.is_boundary:
                found = inside(first, last)
            elif "initial" in region.names:
                found = at_start[0], at_start[1] * (first == 0)
            else:
                found = sides(region, first, last)
            laid[name].append(found)
        laid[JOINT].append((at_start[0], at_start[1] * (first > 0)))
    both = {
        name: [np.stack(a) for a in zip(*f, strict=True)] for name, f in laid.items()
    }
    # A collocation checks points without a leading axis.
    whole = Collocation(
        {name: points.reshape(-1, 2) for name, (points, _) in both.items()},
        {name: weights.ravel() for name, (_, weights) in both.items()},
    )
    return jax.tree.map(lambda a: a.reshape(slabs.num, -1, *a.shape[1:]), whole)


def slab_system(
    problem: Problem, unknown: PyTree, moves: PyTree, pieces: Collocation, index: Any
) -> System:
    """The problem in one slab. Its residual takes as `args` those of the problem and the
    unknown of the slab before."""

    def on(condition):
        function = lambda u, x, both: condition.residual(u, x, both[0])
        return Condition(
            function, condition.region, name=condition.name, weight=condition.weight
        )

    def joint(u, x, both):
        return u(x) - both[1](x)

    domain: Any = problem.domain
    conditions = [on(c) for c in problem.conditions]
    conditions.append(Condition(joint, domain.initial, name=JOINT))
    here = jax.tree.map(lambda a: a[index], pieces)
    return System(Problem(*conditions, out=problem.out), unknown, here, moves=moves)


class LinearSolution(eqx.Module):
    """The minimiser of a system's linear model, with next to no damping."""

    change: Float[Array, " params"]
    damping: Float[Array, ""]
    residual: Float[Array, " rows"]
    left: Float[Array, " rows"]
    """What the model leaves of it."""
    gradient: Float[Array, " params"]


def linear_solution(
    system: System, args: Any, relative: Callable[[float], float] = lambda eps: 10 * eps
) -> LinearSolution:
    """By one QR, from the parameters of the system.

    **Arguments:**

    - `relative`: the damping as a part of the root mean square singular value, from the
        unit of rounding.
    """
    residual, jacobian = system.linearised(system.params, args)
    eps = float(jnp.finfo(residual.dtype).eps)
    damping = jnp.asarray(relative(eps), residual.dtype)
    change = damped_solution(jacobian, -residual, damping)
    left = residual + apply(jacobian, change)
    return LinearSolution(change, damping, residual, left, matmul(residual, jacobian))


def gauss_newton_step(system: System, args: Any) -> tuple[PyTree, StepInfo, Any]:
    """A full step, halved until the loss falls, and whether it came near to the least loss
    of its linear model; the parameters as they were if the loss never falls."""
    flat, unravel = jfu.ravel_pytree(system.params)
    model = linear_solution(system, args)
    change = model.change
    before, promised = (0.5 * jnp.sum(r**2) for r in (model.residual, model.left))

    def loss(part):
        new = system.residual(unravel(flat + part * change), args)
        return 0.5 * jnp.sum(new**2)

    def worse(carry):
        count, _, now = carry
        return ~(now < before) & (count < HALVINGS)

    def halve(carry):
        count, part, _ = carry
        part = jnp.where(count == 0, part, part / 2)
        return count + 1, part, loss(part)

    one = jnp.ones((), flat.dtype)
    start = jnp.zeros((), jnp.int32), one, one * jnp.inf
    _, part, after = jax.lax.while_loop(worse, halve, start)
    accepted = after < before
    part = jnp.where(accepted, part, 0)
    tiny = jnp.finfo(flat.dtype).tiny
    info = StepInfo(
        loss=jnp.where(accepted, after, before),
        gradient=jnp.linalg.norm(model.gradient),
        damping=model.damping,
        ratio=(before - after) / jnp.maximum(before - promised, tiny),
        length=part * jnp.linalg.norm(change),
        accepted=accepted,
        projection_error=jnp.sqrt(promised / jnp.maximum(before, tiny)),
    )
    return unravel(flat + part * change), info, after <= NEAR * promised


class _MarchingState(eqx.Module):
    slab: Int[Array, ""]
    steps: Int[Array, ""]
    """In this slab."""
    info: StepInfo
    finite: Bool[Array, ""]


class Marching(optx.AbstractLeastSquaresSolver):
    """Solves for the coefficients of a field in slabs of time, one slab after the other.

    Each slab is a least-squares problem of its own: its equation, its boundary values, and
    the values of the slab before where it begins. A step is a Gauss-Newton step in one
    slab: one QR factorisation for as many features as a slab has.

    !!! example

        ```python
        import sobng as sn

        sn.Marching()
        ```

    ??? cite "Reference"

        Dong, Li: Local extreme learning machines and domain decomposition for solving
        linear and nonlinear partial differential equations (CMAME 2021, arXiv 2012.02895)
        march in blocks of time. We differ in: overlapping slabs that go over
        into one another smoothly, in coordinates that follow fronts.
    """

    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True)
    system: System | None
    pieces: Collocation | None

    def __init__(self):
        self.rtol, self.atol = 0.0, 0.0
        self.norm = optx.two_norm
        self.system = None
        self.pieces = None

    def on(self, system: System) -> "Marching":
        """The same solver on points that follow the field of a system.

        **Raises:** `ValueError` unless the unknown is a field in slabs.
        """
        unknown = system.unknown(system.params)
        slabs = slabs_of(unknown)
        if slabs is None or stretching_of(unknown) is None:
            raise ValueError(
                "`Marching` needs a field in slabs of time and stretched coordinates. Got "
                f"`{type(unknown).__name__}`. Wrap `TimeSlabs` in `Stretched`."
            )
        num = ROWS * slabs.coefficients.shape[-1]
        problem: Any = system.problem
        pieces = lay(problem, unknown, num).astype(system.collocation.dtype)
        return eqx.tree_at(
            lambda s: (s.system, s.pieces),
            self,
            (system, pieces),
            is_leaf=lambda leaf: leaf is None or isinstance(leaf, System | Collocation),
        )

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        del fn, args, options, f_struct, aux_struct, tags
        flat, _ = jfu.ravel_pytree(y)
        zero = jnp.zeros((), jnp.int32)
        start = StepInfo.start(jnp.full((), jnp.inf, flat.dtype))
        return _MarchingState(zero, zero, start, jnp.ones((), bool))

    def step(self, fn, y, args, options, state, tags):
        del fn, options, tags
        system: Any = self.system
        pieces: Any = self.pieces
        unknown = system.unknown(y)
        now = piece_of(unknown, state.slab)
        before = piece_of(unknown, jnp.maximum(state.slab - 1, 0))
        moves = linear_leaves(now)
        here = slab_system(system.problem, now, moves, pieces, state.slab)
        params, info, near = gauss_newton_step(here, (args, before))
        new = with_piece(unknown, state.slab, here.unknown(params))
        y, _ = eqx.partition(new, linear_leaves(new))
        old = jnp.where(state.steps == 0, jnp.inf, state.info.loss)
        slow = ~info.accepted | (info.loss > SLOW * old)
        solved = near | slow | (state.steps + 1 >= MOST)
        new_state = _MarchingState(
            state.slab + solved.astype(jnp.int32),
            jnp.where(solved, 0, state.steps + 1),
            info,
            jnp.isfinite(info.loss),
        )
        return y, new_state, None

    def terminate(self, fn, y, args, options, state, tags):
        del fn, args, options, tags
        system: Any = self.system
        slabs: Any = slabs_of(system.unknown(y))
        result = optx.RESULTS.where(
            state.finite, optx.RESULTS.successful, optx.RESULTS.nonfinite
        )
        return state.slab >= slabs.num, result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        del fn, args, options, tags, result
        return y, aux, {"loss": state.info.loss}


def projected(
    problem: Problem, unknown: PyTree, target: PyTree, pieces: Collocation
) -> PyTree:
    """The unknown in slabs with the values of another field, slab by slab."""
    name = next(c.name for c in problem.conditions if not c.region.is_boundary)
    slabs: Any = slabs_of(unknown)
    for index in range(slabs.num):
        points = pieces.points[name][index]
        unknown = _fitted(problem, unknown, target, points, jnp.asarray(index))
    return unknown


@lean
def _fitted(problem, unknown, target, points, index):
    now = piece_of(unknown, index)
    fit = Condition(lambda u, x, to: u(x) - to(x), problem.domain.interior, name="fit")
    weights = jnp.ones(len(points), points.dtype)
    collocation = Collocation({"fit": points}, {"fit": weights})
    system = System(
        Problem(fit, out=problem.out), now, collocation, moves=linear_leaves(now)
    )
    flat, unravel = jfu.ravel_pytree(system.params)
    change = linear_solution(system, target, lambda eps: eps**ROUGHLY).change
    return with_piece(unknown, index, system.unknown(unravel(flat + change)))
