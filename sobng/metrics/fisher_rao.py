"""The Fisher-Rao metric of densities."""

import equinox as eqx
import jax.numpy as jnp

from sobng.metrics.gram import Pullback
from sobng.metrics.metric import AbstractMetric, fields, interior
from sobng.metrics.regularity import check_density


class FisherRaoMetric(AbstractMetric):
    r"""The metric of densities that the Kullback-Leibler divergence induces.

    For a positive field $\rho$, in the directions $v, w$ of the parameters,

    $$G(v, w) = \int_\Omega \frac{(D\rho\,v)\,(D\rho\,w)}{\rho},$$

    the $L^2$ metric of $2\sqrt\rho$. It weighs a change by how many samples would show it:
    natural where the loss is a likelihood, and where tails matter. The field is the density
    itself, not its logarithm.

    !!! example

        ```python
        import sobng as sn

        sn.NaturalGradient(metric=sn.FisherRaoMetric())
        ```

    ??? cite "Reference"

        Amari: Natural gradient works efficiently in learning, Neural Computation 10 (1998).
    """

    def on(self, system, entry=None):
        """As in [`sobng.AbstractMetric`][].

        **Raises:** `ValueError` if the field is not positive at every point.
        """
        points, weights = interior(system)
        check_density("FisherRaoMetric", system, points, entry)
        return Pullback(system, _Root(), points, weights, entry=entry)


class _Root(eqx.Module):
    """Twice the root of every field."""

    def __call__(self, unknown, x, args):
        del args
        return jnp.concatenate([2 * jnp.sqrt(jnp.ravel(u(x))) for u in fields(unknown)])
