"""Fields that are begun anew on the way, where they follow no longer."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp

import sobng as sn
from sobng.evolve.growth import Watch
from sobng.evolve.integrate import integrate
from sobng.evolve.moving import moving
from sobng.evolve.refit import fitted_to, refitting, shuffled


CIRCLE = sn.Interval(-1.0, 1.0)


def burgers(u, t, x, args):
    return 0.1 * sn.laplacian(u)(x) - u(x) * sn.partial(u, 0)(x)


EVOLUTION = sn.Evolution(
    burgers,
    lambda x: -jnp.sin(jnp.pi * x[0]),
    CIRCLE,
    boundary=[sn.Periodic(CIRCLE, 0)],
)


def test_a_field_that_follows_no_longer_hands_over_to_one_that_does(getkey):
    def embedded(width):
        inner = sn.MLP(2, width=width, depth=1, key=getkey())
        return sn.PeriodicEmbedding(inner, {0: 2.0})

    def on(field, t):
        return moving(EVOLUTION, field, t, 0.2, None, getkey())

    def anew(number, t, u):
        return fitted_to(on(embedded(16), t), u, jnp.asarray(t), None)

    def go(motion, t, y, dt0, allowed, done):
        solver, steps = dfx.Tsit5(), dfx.PIDController(rtol=0.0, atol=1e-6)
        return integrate(
            motion, solver, steps, t, 0.2, y, None, dt0=dt0, allowed=allowed
        )

    small = on(embedded(3), 0.0)
    zero = lambda x: -jnp.sin(jnp.pi * x[0])
    small, miss = fitted_to(small, zero, jnp.asarray(0.0), None)
    assert miss < 1e-2  # it holds the initial values, and no more
    y = jfu.ravel_pytree(small.params)[0]
    found = refitting(small, y, Watch(1e-6, 0.2), go, anew, 0.0, None)
    assert len(found.motions) > 1 and found.tried >= 1
    assert found.trips[-1].reached == 0.2
    # Each begins where the one before ended.
    for before, after in zip(found.trips[:-1], found.trips[1:], strict=True):
        assert after.path.ts[0] == before.reached
    alone = go(small, 0.0, y, None, None, 0)
    assert found.trips[-1].looks[-1, 0] < 0.1 * alone.looks[-1, 0]


def test_a_field_of_other_parameters_has_the_size_of_the_first(getkey):
    field = sn.MLP(2, width=5, depth=2, key=getkey())
    other = shuffled(field, getkey())
    for one, two in zip(jax.tree.leaves(field), jax.tree.leaves(other), strict=True):
        if eqx.is_inexact_array(one):
            assert one.shape == two.shape
            assert jnp.allclose(jnp.sort(one.ravel()), jnp.sort(two.ravel()))
    assert not jnp.allclose(field(jnp.ones(2)), other(jnp.ones(2)))
