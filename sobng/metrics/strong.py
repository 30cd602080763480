"""The slope of an energy without cancellation: the Euler-Lagrange equation in its place."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from sobng.collocation import default_sampler
from sobng.metrics.jets import local, order_of
from sobng.problem import Energy
from sobng.system import System


class StrongForm(eqx.Module):
    r"""The first variation of an energy $\int e(u, \nabla u, x)$ as forces on the values,

    $$E'(u)[v] = \int_\Omega (e_u - \nabla\cdot e_p)\,v
        + \int_{\partial\Omega} (e_p \cdot n)\,v,$$

    all of which vanish at a minimum, where $\int e_u v + e_p\cdot\nabla v$ is what two large
    parts leave. It is also exact there on any points.
    """

    system: System
    edge: Float[Array, "m dim"]
    share: Float[Array, " m"]

    def __init__(self, system: System):
        """**Arguments:**

        - `system`: of one field and an energy for which `is_possible` says so.
        """
        around = system.problem.domain.boundary
        dtype = system.collocation.dtype
        num = len(system.collocation.points[""])
        edge, share = default_sampler(around, num)(around, jax.random.key(0))
        self.system = system
        self.edge = jnp.asarray(edge, dtype)
        self.share = jnp.asarray(share, dtype)

    @staticmethod
    def is_possible(system: System, args: Any) -> bool:
        """Whether this is the energy of one field, its slope and nothing else."""
        energy, u = system.problem, system.unknown(system.params)
        if not isinstance(energy, Energy) or isinstance(u, dict) or energy.dim > 3:
            return False
        return order_of(energy.density, u, system.collocation.points[""][0], args) == 1

    def forces(self, params: PyTree, args: Any):
        """The weighted forces on the values inside and on the boundary, and the size of
        what cancels in them."""
        system, energy = self.system, self.system.problem
        assert isinstance(energy, Energy)
        points, weights = system.collocation.points[""], system.collocation.weights[""]
        u, around = system.unknown(params), energy.domain.boundary
        norm = jnp.ones((), weights.dtype)
        if energy.normalise == "l2":
            norm = jnp.sqrt(jnp.sum(weights * jax.vmap(u)(points) ** 2))

        def slopes(x):
            jet = [u(x) / norm, jax.jacfwd(u)(x) / norm]
            density = lambda jet: energy.density(local(u, {"None": jet}), x, args)
            return jax.grad(density)(jet)

        def inside(x):
            flux = jax.jacfwd(lambda y: slopes(y)[1])(x)
            value, slope = slopes(x)
            whole = jnp.sqrt(value**2 + jnp.sum(slope**2, axis=-1))
            return value - jnp.trace(flux, axis1=-2, axis2=-1), whole

        bulk, whole = jax.vmap(inside)(points)
        flow = jax.vmap(lambda x: slopes(x)[1] @ around.normal(x))(self.edge)
        if energy.normalise == "l2":
            inner, outer = (jax.vmap(u)(x) / norm for x in (points, self.edge))
            level = jnp.sum(weights * bulk * inner) + jnp.sum(self.share * flow * outer)
            bulk = bulk - level * inner
        pieces = (weights, bulk), (self.share, flow), (weights, whole)
        return [_rows(w, values) / norm for w, values in pieces]

    def values(self, params: PyTree):
        """What the forces act on."""
        u = self.system.unknown(params)
        return [jax.vmap(u)(x) for x in (self.system.collocation.points[""], self.edge)]

    def gradient(self, params: PyTree, args: Any):
        """In the parameters, and its size without the cancellation."""
        bulk, flow, whole = self.forces(params, args)
        pull = jax.vjp(self.values, params)[1]
        gradient, size = pull([bulk, flow])[0], pull([whole, jnp.zeros_like(flow)])[0]
        if self.system.names:
            squares = lambda p: 0.5 * jnp.sum(self.system.residual(p, args) ** 2)
            more = jax.grad(squares)(params)
            gradient = jax.tree.map(jnp.add, gradient, more)
        flat, _ = jfu.ravel_pytree(gradient)
        return flat, jnp.linalg.norm(jfu.ravel_pytree(size)[0])

    def along(self, params: PyTree, step: PyTree, args: Any):
        """The slope of the loss along a step."""
        bulk, flow, _ = self.forces(params, args)
        inner, outer = jax.jvp(self.values, (params,), (step,))[1]
        slope = jnp.sum(bulk * inner) + jnp.sum(flow * outer)
        if self.system.names:
            residual = lambda p: self.system.residual(p, args)
            value, change = jax.jvp(residual, (params,), (step,))
            slope = slope + jnp.sum(value * change)
        return slope


def _rows(weights, values):
    return weights.reshape(-1, *(1,) * (values.ndim - 1)) * values
