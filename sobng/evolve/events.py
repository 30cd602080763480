"""Events of Diffrax, which are given the `args` of the evolution."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax


def with_own_args(event: dfx.Event | None) -> dfx.Event | None:
    """The same event where Diffrax' `args` are a pair of the motion and the user's."""
    if event is None:
        return None
    own = jax.tree.map(Own, event.cond_fn, is_leaf=callable)
    return eqx.tree_at(lambda e: e.cond_fn, event, own)


class Own(eqx.Module):
    """A condition that sees the user's `args`, and terms and solver that take them."""

    condition: Any

    def __call__(self, t, y, args, *, terms, solver, **told):
        motion, given = args
        mine = dfx.ODETerm(lambda t, y, given: terms.vf(t, y, (motion, given)))
        return self.condition(
            t, y, given, terms=mine, solver=Asked(solver, motion), **told
        )


class Asked:
    """A solver of which an event asks for the velocity, as `steady_state_event` does."""

    def __init__(self, solver: Any, motion: Any):
        self.solver, self.motion = solver, motion

    def func(self, terms, t0, y0, args):
        # Solvers along a level set look for the motion in the pair.
        both = dfx.ODETerm(lambda t, y, both: terms.vf(t, y, both[1]))
        return self.solver.func(both, t0, y0, (self.motion, args))

    def __getattr__(self, name):
        return getattr(self.solver, name)
