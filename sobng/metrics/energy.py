"""The metric that the problem's own linearisation induces."""

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp

from sobng.fields.algebra import linearised
from sobng.metrics.metric import AbstractMetric
from sobng.problem import Energy


class EnergyMetric(AbstractMetric):
    r"""The second derivative of the loss in function space, pulled back.

    For least-squares residuals this is Gauss-Newton, $G = J^T J$. For an
    [`sobng.Energy`][] with density $e$ it is $G_{ij} = E''(u)[\partial_i u, \partial_j u]$,
    without the curvature of the network itself; a density that is not convex is
    replaced by its positive part.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(metric=sn.EnergyMetric())
        ```

    ??? cite "Reference"

        Mueller, Zeinhofer: Achieving high accuracy with PINNs via energy natural
        gradient descent (arXiv 2302.13163).
    """

    def factor(self, system, params, args):
        rows = [system.jacobian(params, args)] if system.names else []
        if isinstance(system.problem, Energy):
            rows.append(_energy_factor(system, params, args))
        return jnp.concatenate(rows)


def _energy_factor(system, params, args):
    flat, unravel = jfu.ravel_pytree(params)

    def energy(tangent):
        # The network is replaced by its linearisation, so that the second derivative
        # sees the energy's curvature and not the network's.
        unknown = linearised(system.unknown, params, unravel(tangent))
        return system.energy_of(unknown, args)

    gram = jax.hessian(energy)(jnp.zeros_like(flat))
    values, vectors = jnp.linalg.eigh(0.5 * (gram + gram.T))
    return jnp.sqrt(jnp.maximum(values, 0))[:, None] * vectors.T
