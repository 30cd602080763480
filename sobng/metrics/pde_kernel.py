"""The metric of Gaussian-process solutions: a kernel under the linearised equation."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp

from sobng.collocation import Collocation
from sobng.kernels.kernel import AbstractKernel
from sobng.linalg.whitening import check_regular, whiten, Whitening
from sobng.metrics.functionals import (
    conditions,
    derivative_order,
    residual_kernel,
    sees_field,
)
from sobng.metrics.gram import AbstractGram
from sobng.metrics.kernel import check_kernel, chosen, MAX_POINTS
from sobng.metrics.metric import AbstractMetric
from sobng.metrics.regularity import check_smooth
from sobng.system import System


class PDEKernelMetric(AbstractMetric):
    r"""The metric of a reproducing kernel's space, from residuals of the equation.

    With $\mathcal J$ the Jacobian of the residuals of all conditions at their points,
    without weights, and $\mathcal K = D_x D_y K$ the kernel with the linearised equation
    and boundary conditions applied in both of its arguments,

    $$G = \mathcal J^T \mathcal K^{-1} \mathcal J.$$

    A function is measured by the least norm with which the kernel's space can have the
    same residuals. The undamped step of [`sobng.NaturalGradient`][], with at most as many
    residuals as parameters, moves the residuals along the gradient of the loss in that
    space; that of [`sobng.GaussNewton`][] with damping $\mu$ moves them as the
    Gaussian-process solution of the linearised equation with noise $\mu$ does. Use it
    where a prior on the solution is meant, with few and scattered points; it smooths
    relative to Gauss-Newton, which is the case $\mathcal K = I$, and no problem was found so
    far on which it beats that.

    Where the operator depends neither on the field nor on `args`, $\mathcal K$ is
    factorised once for each set of points, else in every step. Point values of $k$
    derivatives need a Sobolev order above $d/2 + k$. `on(system).whitening.nugget` is as
    in [`sobng.KernelMetric`][], where it is made once. Unknown arrays beside the fields
    have no norm of their own.

    !!! example

        ```python
        import sobng as sn

        # For second-order equations in two dimensions: above 1 + 2.
        sn.GaussNewton(metric=sn.PDEKernelMetric(sn.SobolevKernel(order=4)))
        ```

    ??? cite "Reference"

        Chen, Hosseini, Owhadi, Stuart: Solving and learning nonlinear PDEs with Gaussian
        processes (JCP 2021, arXiv 2103.12959). We differ in: a metric for a field
        instead of a solution in the kernel's span.
    """

    kernel: AbstractKernel
    nugget: float = eqx.field(static=True)
    max_points: int = eqx.field(static=True)

    def __init__(
        self, kernel: Any, *, nugget: float = 0.0, max_points: int = MAX_POINTS
    ):
        """**Arguments:**

        - `kernel`: its length scale, if it has none, becomes the median distance.
        - `nugget`: as in [`sobng.KernelMetric`][].
        - `max_points`: of more points, all conditions together, a well-spread subset of
            each condition's is used.

        **Raises:** `ValueError` if an argument is of the wrong kind.
        """
        check_kernel("PDEKernelMetric", kernel, nugget, max_points)
        self.kernel = kernel
        self.nugget = float(nugget)
        self.max_points = max_points

    def on(self, system, entry=None):
        """As in [`sobng.AbstractMetric`][].

        **Raises:** `ValueError` if the kernel has too few derivatives for the equation, a
        condition's point is repeated, the matrix is singular beyond what a nugget mends,
        the field is not smooth enough, or there are no residuals, or for one entry.
        """
        if entry is not None or not system.names:
            wrong = "an energy has none" if entry is None else f"got '{entry}' alone"
            raise ValueError(
                "`PDEKernelMetric` measures by the residuals of the whole unknown, and "
                f"{wrong}. Use `sobng.KernelMetric`, which measures by values."
            )
        system = self._unweighted(system)
        points = jnp.concatenate([points for _, points in conditions(system)])
        dim = points.shape[1]
        order = (dim + self.kernel.smoothness(dim)) / 2
        check_smooth("PDEKernelMetric", system, points, None, order)
        kernel = self.kernel.fitted(points)
        if not _is_fixed(kernel, system):
            return _ResidualGram(system, kernel, None, self.nugget)
        matrix = residual_kernel(kernel, system, system.params, LATER)
        whitening = whiten(matrix, self.nugget)
        check_regular(whitening, "PDEKernelMetric")
        return _ResidualGram(system, kernel, whitening, self.nugget)

    def _unweighted(self, system):
        parts = conditions(system)
        total = sum(len(points) for _, points in parts)
        share = min(1.0, self.max_points / total)
        points, weights = {}, {}
        for condition, every in parts:
            name = condition.name
            some = chosen(
                f"PDEKernelMetric` on '{name}",
                every,
                system.collocation.weights[name],
                math.ceil(share * len(every)),
            )
            points[name] = some
            # The loss multiplies both: rows of the residual are then without either.
            weights[name] = jnp.full_like(some[:, 0], 1 / condition.weight)
        return system.with_points(Collocation(points, weights))


LATER: Any = object()
"""Stands for `args` before they are known: whatever a residual does with it fails."""


def _is_fixed(kernel, system) -> bool:
    """Whether the operator is the same in every step; checks the kernel on the way."""
    try:
        fixed = not sees_field(system, LATER)
    except (TypeError, AttributeError):  # the residual uses its `args`
        return False
    _check_derivatives(kernel, system, system.params, LATER)
    return fixed


def _check_derivatives(kernel, system, params, args) -> None:
    k = derivative_order(system, params, args)
    dim = system.problem.dim
    if 2 * k > kernel.smoothness(dim):
        raise ValueError(
            f"The residuals take {k} derivatives of the unknown, whose point values exist "
            f"in a Sobolev space of order above {dim / 2 + k:g} (half the dimension and "
            f"{k}). The kernel of `PDEKernelMetric` has {kernel.smoothness(dim)} "
            f"derivatives in both points together and needs {2 * k}. Write for instance "
            f"`sobng.SobolevKernel(order={math.floor(dim / 2) + k + 1})`."
        )


class _ResidualGram(AbstractGram):
    """The whitened Jacobian of residuals without weights."""

    system: System
    kernel: AbstractKernel
    whitening: Whitening | None
    """`None` where the operator depends on the field: made anew in every step."""
    nugget: float = eqx.field(static=True)

    def _whitening(self, params, args):
        if self.whitening is not None:
            return self.whitening
        _check_derivatives(self.kernel, self.system, params, args)
        matrix = residual_kernel(self.kernel, self.system, params, args)
        return whiten(matrix, self.nugget)

    def factor(self, params, args=None):
        rows = self.system.jacobian(params, args)
        return self._whitening(params, args)(rows)

    def product(self, params, args, vector):
        flat, unravel = jfu.ravel_pytree(params)
        whitening = self._whitening(params, args)

        def white(flat):
            return whitening(self.system.residual(unravel(flat), args))

        image = jax.jvp(white, (flat,), (vector,))[1]
        return jax.vjp(white, flat)[1](image)[0]
