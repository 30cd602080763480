"""Derivatives of a solution, by the implicit function theorem and the Jacobian's rows."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from sobng.precision import matmul


RELATIVE = 1e-10
"""Singular values below this part of the largest count as zero: directions of the
parameters that the residual hardly sees hardly move the field either."""


def attach(
    params: PyTree,
    residual: Callable[[PyTree], Float[Array, " rows"]],
    jacobian: Float[Array, "rows params"],
) -> PyTree:
    r"""The same parameters, with the derivative that a solution has in its data.

    At a solution the residual stays zero when its data move, so that
    $d\theta = -J^{+}\, \partial r$ with the pseudo-inverse: of all motions of the
    parameters the shortest. One Gauss-Newton step on a residual that is subtracted from
    itself has this derivative and the value zero, exactly.

    **Arguments:**

    - `params`: the solution.
    - `residual`: the residual as a function of the parameters; it closes over what one
        differentiates in.
    - `jacobian`: its derivative in the parameters, row by row.
    """
    flat, unravel = jfu.ravel_pytree(jax.lax.stop_gradient(params))
    live = residual(unravel(flat))
    left, singular, right = jnp.linalg.svd(
        jax.lax.stop_gradient(jacobian), full_matrices=False
    )
    kept = singular > RELATIVE * singular[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    defect = live - jax.lax.stop_gradient(live)
    return unravel(flat - matmul(right.T, inverse * matmul(left.T, defect)))


class MinimumNormAdjoint(optx.AbstractAdjoint):
    r"""Differentiates a least-squares solve with a bound [`sobng.GaussNewton`][].

    The adjoint of Optimistix solves with the Hessian of the loss, which for a neural
    field is singular to rounding. This one takes the minimum-norm motion
    $d\theta = -J^{+}\,\partial r$ through the row-wise Jacobian.

    !!! example

        ```python
        import jax, jax.numpy as jnp, optimistix as optx, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + args,
                         interval.interior, name="poisson"),
            sn.Dirichlet(interval.boundary, 0.0),
        )
        field = sn.impose(problem, sn.MLP(1, width=8, key=jax.random.key(0)))
        points = sn.discretise(problem, 40, key=jax.random.key(1))
        system = sn.System(problem, field, points)


        def middle(load):
            fit = optx.least_squares(
                system.residual, sn.GaussNewton().on(system), system.params, load,
                max_steps=100, throw=False, adjoint=sn.MinimumNormAdjoint(),
            )
            return system.unknown(fit.value)(jnp.array([0.5]))


        jax.grad(middle)(1.0)    # 1/8
        ```
    """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del rewrite_fn, tags
        fn, solver, _, args, *_ = inputs
        system = getattr(solver, "system", None)
        if system is None:
            raise ValueError(
                "`MinimumNormAdjoint` needs a solver that is bound to a system. Write "
                "`solver.on(system)`."
            )

        def loop(cond_fun, body_fun, init_val, *, max_steps=None, **kwargs):
            return eqxi.while_loop(
                cond_fun, body_fun, init_val, max_steps=max_steps, kind="lax", **kwargs
            )

        still = _stop(inputs)
        params, rest = primal_fn((*still, loop))
        jacobian = system.jacobian(params, _stop(args))
        return attach(params, lambda p: fn(p, args)[0], jacobian), _stop(rest)


def _stop(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: (
            jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf
        ),
        tree,
    )
