"""Self-scaled Broyden of ssbroyden-optimistix (Bioli, Mendibe, arXiv 2603.10599)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from plain import Plain, run


def minimise(race, plain, solver):
    """Steps an Optimistix minimiser from outside, which `optimistix.minimise` does not
    allow one to watch."""
    objective = lambda y, args: (plain.loss(y), None)
    options = {}
    tags = frozenset()
    struct = jax.ShapeDtypeStruct((), jnp.float64)
    first = solver.init(objective, plain.start, None, options, struct, None, tags)

    @eqx.filter_jit
    def step(state):
        y, inner = state
        return solver.step(objective, y, None, options, inner, tags)[:2]

    run(race, plain, step, (plain.start, first), lambda state: state[0])


def ssbroyden(race):
    import ssbroyden_optimistix as sso

    minimise(race, Plain(race), sso.SSBroyden(rtol=0.0, atol=0.0))
