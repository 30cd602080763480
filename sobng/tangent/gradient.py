"""Gradients of pointwise losses in a space with a reproducing kernel."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobng.precision import matmul
from sobng.tangent.kernel import TangentKernel
from sobng.typing import Point, Points, Scalar, Value


class FunctionalGradient(eqx.Module):
    """A gradient in function space; made by [`sobng.functional_gradient`][].

    - `norm`: its length in the space of the kernel.
    """

    function: Callable
    norm: Scalar

    def __call__(self, x: Point) -> Value:
        """The value at one point."""
        return self.function(x)


def functional_gradient(
    kernel: Callable, points: Points, cotangents: Float[Array, "m ..."]
) -> FunctionalGradient:
    r"""The gradient of a pointwise loss in the space of a reproducing kernel.

    A loss $\ell = \sum_n L_n(u(x_n))$ with $r_n = L_n'(u(x_n))$ has the gradient

    $$\nabla \ell = \sum_n r_n K(\cdot, x_n),$$

    the function with $d\ell(h) = \langle \nabla \ell, h \rangle$. With the tangent kernel
    of a field in the metric of $K$ it is its projection $P_V \nabla \ell$ onto the tangent
    space, along which the natural gradient moves the field; with the neural tangent kernel
    it is what plain gradient descent moves along. The part that the tangent space does not
    express has the squared norm $\lVert \nabla \ell \rVert^2 - \lVert P_V \nabla \ell
    \rVert^2$. In $L^2$ there is no such gradient, as the kernel would be a delta function.

    !!! example

        ```python
        import jax, jax.numpy as jnp, sobng as sn

        points, data = jnp.array([[0.2], [0.9]]), jnp.array([1.0, -1.0])
        field = sn.MLP(1, width=8, key=jax.random.key(0))
        cotangents = jax.vmap(field)(points) - data        # of half the squares
        kernel = sn.SobolevKernel(order=1, scale=1.0)
        gradient = sn.functional_gradient(kernel, points, cotangents)
        tangent = sn.tangent_kernel(
            field, sn.SobolevMetric(1, extension=True), domain=sn.Interval(0.0, 1.0)
        )
        projected = sn.functional_gradient(tangent, points, cotangents)
        gradient(jnp.array([0.5])), 1 - (projected.norm / gradient.norm) ** 2
        ```

    **Arguments:**

    - `kernel`: a function of two points, as a [`sobng.AbstractKernel`][]. Its value is a
        number, which acts on every component alike, or, as for a
        [`sobng.TangentKernel`][] of a vector field, a matrix.
    - `points`: shape `(n, dim)`.
    - `cotangents`: the derivatives of the loss in the values there, shape `(n,)` or
        `(n, out)`.

    **Raises:** `ValueError` if the numbers of points and cotangents differ.
    """
    if cotangents.shape[0] != points.shape[0]:
        raise ValueError(
            "There is one cotangent for each point. Got shapes "
            f"`{cotangents.shape}` and `{points.shape}`."
        )
    if isinstance(kernel, TangentKernel):
        return _projected(kernel, points, cotangents)
    function = _Representers(kernel, points, cotangents)
    square = jnp.sum(cotangents * jax.vmap(function)(points))
    return FunctionalGradient(function, jnp.sqrt(jnp.maximum(square, 0)))


def _projected(kernel, points, cotangents):
    """In the tangent space the sum is one motion, whatever the number of points."""
    features = jax.vmap(kernel.features)(points)
    coordinates = matmul(
        features.reshape(-1, features.shape[-1]).T, cotangents.reshape(-1)
    )
    direction = coordinates
    if kernel.columns is not None:
        direction = matmul(kernel.columns, coordinates)
    function = kernel.tangent.along(direction)
    return FunctionalGradient(function, jnp.linalg.norm(coordinates))


class _Representers(eqx.Module):
    """A sum of kernel functions at points."""

    kernel: Callable
    points: Points
    cotangents: Float[Array, "n ..."]

    def __call__(self, x: Point) -> Value:
        values: Any = jax.vmap(lambda y: self.kernel(x, y))(self.points)
        if values.ndim == 1:
            return jnp.tensordot(values, self.cotangents, (0, 0))
        return jnp.einsum("nij,nj->i", values, self.cotangents)
