"""Array types whose axis names mean the same everywhere in sobng.

| axis     | meaning                                                               |
|----------|-----------------------------------------------------------------------|
| `dim`    | coordinates of a point, `(x_1, ..)` or `(t, x_1, ..)` in space-time    |
| `n`      | points of a collocation                                               |
| `out`    | components of a vector field                                          |
| `rows`   | entries of the weighted residual vector                               |
| `params` | trainable numbers, ravelled                                           |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped


# One point, and the value of a field there: a scalar or a vector.
Point = Float[Array, " dim"]
Value = Float[Array, "*out"]
Scalar = Float[Array, ""]
Vector = Float[Array, " out"]

# Any function of one point; every operator of `sobng.calculus` maps one to another.
PointFunction = Callable[..., Any]

# Points in bulk, on the device and (from quadrature rules and samplers) on the host.
Points = Float[Array, "n dim"]
Weights = Float[Array, " n"]
HostPoints = Float[np.ndarray, "n dim"]
HostWeights = Float[np.ndarray, " n"]

# The least squares problem.
Residual = Float[Array, " rows"]
ResidualJacobian = Float[Array, "rows params"]
Flat = Float[Array, " params"]

# `Params` is the trainable part of an unknown, `Args` is the user's and passed through.
Params = PyTree
Args = Any
Unknown = PyTree
Key = PRNGKeyArray
Number = float | int | Shaped[Array, ""] | np.ndarray | np.generic
