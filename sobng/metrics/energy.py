"""The metric that the problem's own linearisation induces."""

from typing import Any

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
from jaxtyping import PyTree

from sobng.fields.algebra import linearised
from sobng.metrics.gram import AbstractGram
from sobng.metrics.metric import AbstractMetric
from sobng.metrics.variation import curvature_factor
from sobng.problem import Energy
from sobng.system import System


class EnergyMetric(AbstractMetric):
    r"""The second derivative of the loss in function space, pulled back.

    For least-squares residuals this is Gauss-Newton, $G = J^T J$. For an
    [`sobng.Energy`][] with density $e$ it is $G_{ij} = E''(u)[\partial_i u, \partial_j u]$,
    without the curvature of the network itself. Where the energy is not convex its
    curvature counts by its absolute value, so that saddles repel; with
    [`sobng.Krylov`][], which needs products alone, negative curvature counts for none.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(metric=sn.EnergyMetric())
        ```

    ??? cite "Reference"

        Mueller, Zeinhofer: Achieving high accuracy with PINNs via energy natural
        gradient descent (arXiv 2302.13163).
    """

    def on(self, system, entry=None):
        if entry is not None:
            raise ValueError(
                "`EnergyMetric` measures all entries of an unknown together. Got the "
                f"entry '{entry}'. Name a Sobolev metric for it."
            )
        return _EnergyGram(system)


class _EnergyGram(AbstractGram):
    system: System

    def factor(self, params, args=None):
        if isinstance(self.system.problem, Energy):
            return curvature_factor(self.system, params, args)
        return self.system.jacobian(params, args)

    def product(self, params, args, vector):
        """$G v$, for an energy with the second derivative as it is: its absolute value
        would take a matrix. So it is $F^T F v$ where the energy is convex and not
        normalised; elsewhere a Krylov space takes negative curvature for none."""
        total = jnp.zeros_like(vector)
        if self.system.names:
            _, unravel = jfu.ravel_pytree(params)
            residual = lambda p: self.system.residual(p, args)  # noqa: E731
            image = jax.jvp(residual, (params,), (unravel(vector),))[1]
            pulled = jax.vjp(residual, params)[1](image)[0]
            total = total + jfu.ravel_pytree(pulled)[0]
        if isinstance(self.system.problem, Energy):
            slope = jax.grad(self._energy(params, args))
            total = total + jax.jvp(slope, (_zero(params),), (vector,))[1]
        return total

    def _energy(self, params: PyTree, args: Any):
        """The energy of the network's linearisation, whose second derivative sees the
        energy's curvature and not the network's."""
        _, unravel = jfu.ravel_pytree(params)

        def energy(tangent):
            unknown = linearised(self.system.unknown, params, unravel(tangent))
            return self.system.energy_of(unknown, args)

        return energy


def _zero(params):
    return jnp.zeros_like(jfu.ravel_pytree(params)[0])
