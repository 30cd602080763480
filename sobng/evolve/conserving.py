"""A solver of Diffrax whose steps keep integrals."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.evolve.invariants import Invariants
from sobng.evolve.path import Path
from sobng.once import once


class Ramped(dfx.AbstractLocalInterpolation):
    """An interpolation with a correction that rises from nothing to its whole."""

    t0: Any
    t1: Any
    inner: dfx.AbstractLocalInterpolation
    correction: Float[Array, " r"]

    def evaluate(self, t0, t1=None, left=True):
        if t1 is not None:
            return self.evaluate(t1, left=left) - self.evaluate(t0, left=left)
        step = self.t1 - self.t0
        theta = (t0 - self.t0) / jnp.where(step == 0, jnp.ones_like(step), step)
        ramp = jnp.asarray(theta**2 * (3 - 2 * theta), self.correction.dtype)
        return self.inner.evaluate(t0, left=left) + ramp * self.correction


@dataclasses.dataclass(frozen=True)
class Ramp:
    """Makes an interpolation of what a step recorded."""

    inner: Callable[..., dfx.AbstractLocalInterpolation]

    def __call__(self, *, t0, t1, inner, correction, **told):
        del told
        return Ramped(t0, t1, self.inner(t0=t0, t1=t1, **inner), correction)


class Tangential(eqx.Module):
    """A vector field along the level set."""

    terms: Any
    invariants: Invariants

    def __call__(self, t, y, args):
        motion, given = args
        velocity = self.terms.vf(t, y, args)
        t = jnp.asarray(t, y.dtype)
        return self.invariants.tangential(motion, t, y, velocity, given)


class Conserving(dfx.AbstractWrappedSolver):
    """Steps of another solver along the level set of invariants, and back onto it.

    The order is that of the other solver: what its step misses of the level set, and so
    the correction, is no larger than its local error.
    """

    # Diffrax declares class variables, and its own wrappers have these as here.
    solver: dfx.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    invariants: Invariants

    @property
    def term_structure(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self):  # pyright: ignore
        return self.solver.term_compatible_contr_kwargs

    @property
    def interpolation_cls(self):  # pyright: ignore
        return Ramp(self.solver.interpolation_cls)

    @property
    def root_finder(self):
        """Of an implicit solver: Diffrax gives it the tolerances of the steps."""
        solver: Any = self.solver
        return solver.root_finder

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        return self.solver.init(self._along(terms), t0, t1, y0, args)

    def func(self, terms, t0, y0, args):
        return self.solver.func(self._along(terms), t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del made_jump  # each step begins beside the end of the last one
        free, error, dense, solver_state, result = self.solver.step(
            self._along(terms), t0, t1, y0, args, solver_state, True
        )
        motion, given = args
        end = jnp.asarray(t1, y0.dtype)
        y1 = self.invariants.restored(motion, end, free, given)
        piece = self.solver.interpolation_cls(t0=t0, t1=t1, **dense)
        recorded = {
            "inner": dense,
            "correction": y1 - piece.evaluate(t1),
            "drift": self.invariants.drift(motion, end, y1, given),
        }
        return y1, error, recorded, solver_state, result

    def _along(self, terms):
        return dfx.ODETerm(Tangential(terms, self.invariants))


@once
def settled(invariants: Invariants, motion: Any, t: Any, y: Array, args: Any) -> Array:
    """The state of another motion where the integrals have their first values."""
    return invariants.restored(motion, jnp.asarray(t, y.dtype), y, args)


def drift(paths: Sequence[Path]) -> tuple[float, ...]:
    """The largest relative drift of each invariant over the steps of some paths."""
    infos = [path.infos for path in paths if path.infos is not None]
    far = [np.abs(info["drift"]) for info in infos if "drift" in info]
    return tuple(np.max(np.concatenate(far), axis=0).tolist()) if far else ()
