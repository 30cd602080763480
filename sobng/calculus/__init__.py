"""Differential operators of a function of one point.

`u` is any callable of one point; every operator returns another, so that they compose
and are evaluated in bulk with `jax.vmap`. All work under `jit`, `vmap` and `grad`.
"""

from sobng.calculus._operators import (
    curl as curl,
    directional as directional,
    divergence as divergence,
    gradient as gradient,
    jacobian as jacobian,
    normal_derivative as normal_derivative,
    partial as partial,
)
from sobng.calculus._outer import (
    matrices_of as matrices_of,
    outer_products as outer_products,
    OuterProducts as OuterProducts,
)
from sobng.calculus._second import (
    biharmonic as biharmonic,
    hessian as hessian,
    laplacian as laplacian,
)
