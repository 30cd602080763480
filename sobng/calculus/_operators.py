"""First derivatives and derivatives along given axes and directions."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sobng.calculus._points import check_axes, check_point, unit_vectors
from sobng.typing import Point, PointFunction, Value


# Up to here all derivatives are pushed forward: it compiles fast, nests well and is as
# quick as reverse mode on small networks. Beyond, one reverse sweep replaces them.
FORWARD_DIM = 5


def jacobian(u: PointFunction, axes: Sequence[int] | None = None) -> PointFunction:
    r"""The derivatives of `u` along the axes, $\partial u_k / \partial x_j$.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        rotation = lambda x: jnp.stack([-x[1], x[0]])
        sn.jacobian(rotation)(jnp.array([0.3, 0.7]))    # [[0, -1], [1, 0]]
        ```

    **Arguments:**

    - `u`: a function of one point with values of shape `()` or `(out,)`.
    - `axes`: the axes to differentiate along; all by default. At space-time points
      `(t, x, y)` the space part is `axes=(1, 2)`.

    **Returns:** a function of one point with values of shape `(*out, axes)`.

    **Raises:** `ValueError` at the call if the point is not of shape `(dim,)` and real,
    or an axis does not exist.
    """

    def jacobian_at(x: ArrayLike) -> Value:
        x = check_point(x, "jacobian")
        chosen = check_axes(x, axes, "jacobian")
        if len(chosen) > FORWARD_DIM and jax.eval_shape(u, x).size == 1:
            return jax.jacrev(u)(x)[..., jnp.asarray(chosen)]
        return push_axes(u, x, chosen)

    return jacobian_at


def gradient(u: PointFunction, axes: Sequence[int] | None = None) -> PointFunction:
    r"""The gradient $\nabla u$ of a scalar function.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        sn.gradient(lambda x: x[0] * x[1])(jnp.array([2.0, 3.0]))    # [3, 2]
        ```

    **Arguments:** as for [`sobng.jacobian`][], with scalar `u`.

    **Returns:** a function of one point with values of shape `(axes,)`.

    **Raises:** `ValueError` if `u` is not scalar.
    """

    def gradient_at(x: ArrayLike) -> Value:
        x = check_point(x, "gradient")
        shape = jax.eval_shape(u, x).shape
        if shape != ():
            raise ValueError(
                f"`gradient` needs a scalar function. Got values of shape `{shape}`. "
                "Use `jacobian`, or pick a component: `gradient(lambda x: u(x)[0])`."
            )
        return jacobian(u, axes)(x)

    return gradient_at


def divergence(u: PointFunction, axes: Sequence[int] | None = None) -> PointFunction:
    r"""The divergence $\sum_i \partial u_i / \partial x_i$ of a vector field.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        sn.divergence(lambda x: x)(jnp.array([0.3, 0.7]))    # 2
        ```

    **Arguments:**

    - `u`: a function of one point with one component for each of the axes.
    - `axes`: the axes $x_i$ of the components, in their order; all by default.

    **Returns:** a scalar function of one point.

    **Raises:** `ValueError` if components and axes are not equally many.
    """

    def divergence_at(x: ArrayLike) -> Value:
        x = check_point(x, "divergence")
        chosen = check_axes(x, axes, "divergence")
        check_components(u, x, len(chosen), "divergence")
        return jnp.trace(push_axes(u, x, chosen))

    return divergence_at


def curl(u: PointFunction, axes: Sequence[int] | None = None) -> PointFunction:
    r"""The curl of a vector field in two or three dimensions.

    In two dimensions the scalar $\partial_1 u_2 - \partial_2 u_1$, in three the vector
    $\nabla \times u$.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        rotation = lambda x: jnp.stack([-x[1], x[0]])
        sn.curl(rotation)(jnp.array([0.3, 0.7]))    # 2
        ```

    **Arguments:**

    - `u`: a function of one point with one component for each of the axes.
    - `axes`: the two or three axes of space; all by default.

    **Returns:** a function of one point, scalar in 2-D and of shape `(3,)` in 3-D.

    **Raises:** `ValueError` unless there are two or three axes and as many components.
    """

    def curl_at(x: ArrayLike) -> Value:
        x = check_point(x, "curl")
        chosen = check_axes(x, axes, "curl")
        if len(chosen) not in (2, 3):
            raise ValueError(
                f"`curl` exists in two and three dimensions. Got {len(chosen)}. Name "
                "the axes of space, for example `curl(u, axes=(1, 2))` in space-time."
            )
        check_components(u, x, len(chosen), "curl")
        d = push_axes(u, x, chosen)  # d[k, j]: u_k along x_j
        if len(chosen) == 2:
            return d[1, 0] - d[0, 1]
        return jnp.stack([d[2, 1] - d[1, 2], d[0, 2] - d[2, 0], d[1, 0] - d[0, 1]])

    return curl_at


def partial(u: PointFunction, *axes: int) -> PointFunction:
    r"""The partial derivative along the axes, one after the other, of any order.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        u = lambda x: x[0] ** 3 * x[1]
        sn.partial(u, 0, 0, 1)(jnp.array([2.0, 5.0]))    # 12: twice along x_0, once x_1
        ```

    **Arguments:**

    - `u`: a function of one point with values of shape `()` or `(out,)`.
    - `axes`: one axis for each differentiation.

    **Returns:** a function of one point with values of the shape of `u`. The cost
    doubles with each order.

    **Raises:** `ValueError` without an axis or if one does not exist.
    """
    if len(axes) == 0:
        raise ValueError(
            "`partial` needs the axes to differentiate along. Got none. Write "
            "`partial(u, 0)`, or `partial(u, 0, 0)` for the second derivative."
        )

    def partial_at(x: ArrayLike) -> Value:
        x = check_point(x, "partial")
        chosen = check_axes(x, axes, "partial")
        derivative = u
        for vector in unit_vectors(x, chosen):
            derivative = _push(derivative, vector)
        return derivative(x)

    return partial_at


def directional(
    u: PointFunction, direction: Any | Callable[[Point], Value], order: int = 1
) -> PointFunction:
    r"""The derivative $\frac{d^k}{ds^k} u(x + s v)$ at $s = 0$ along a direction $v$.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        u = lambda x: x[0] ** 2 * x[1]
        sn.directional(u, jnp.array([1.0, 1.0]), order=2)(jnp.array([1.0, 2.0]))    # 8
        ```

    **Arguments:**

    - `u`: a function of one point with values of shape `()` or `(out,)`.
    - `direction`: a vector of shape `(dim,)`, or a function of the point returning one,
      whose own derivatives are not taken. It is not normalised.
    - `order`: how often to differentiate.

    **Returns:** a function of one point with values of the shape of `u`.

    **Raises:** `ValueError` if the order is below one or the direction has another
    shape.
    """
    if order < 1:
        raise ValueError(
            f"`directional` needs an order of at least one. Got {order}. The function "
            "itself is the derivative of order zero."
        )

    def directional_at(x: ArrayLike) -> Value:
        x = check_point(x, "directional")
        vector = direction(x) if callable(direction) else direction
        vector = jnp.asarray(vector, dtype=x.dtype)
        if vector.shape != x.shape:
            raise ValueError(
                f"`directional` needs a direction of the point's shape `{x.shape}`. "
                f"Got `{vector.shape}`. Give one entry for each coordinate, time "
                "included."
            )
        derivative = u
        for _ in range(order):
            derivative = _push(derivative, vector)
        return derivative(x)

    return directional_at


def normal_derivative(u: PointFunction, region: Any) -> PointFunction:
    r"""The outward normal derivative $\partial u / \partial n$ on a part of a boundary.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        right = sn.Box((0.0, 0.0), (1.0, 1.0)).part("right")
        flux = sn.normal_derivative(lambda x: x[0] ** 2, right)
        flux(jnp.array([1.0, 0.5]))    # 2
        ```

    **Arguments:**

    - `u`: a function of one point with values of shape `()` or `(out,)`.
    - `region`: a boundary part with `normal(x)`.

    **Returns:** a function of one point of the region with values of the shape of `u`.
    """
    return directional(u, region.normal)


def push_axes(u: PointFunction, x: Point, axes: tuple[int, ...]) -> Value:
    """The Jacobian by forward mode, `[*out, axes]`."""

    def push(vector):
        return jax.jvp(u, (x,), (vector,))[1]

    return jax.vmap(push, out_axes=-1)(unit_vectors(x, axes))


def check_components(u: PointFunction, x: Point, num: int, name: str) -> None:
    """Refuse a function without one component for each axis."""
    shape = jax.eval_shape(u, x).shape
    if shape != (num,):
        raise ValueError(
            f"`{name}` along {num} axes needs a vector field with values of shape "
            f"`({num},)`. Got shape `{shape}`. Choose the axes with `axes=`, or the "
            "components with a function around `u`."
        )


def _push(u: PointFunction, vector: Value) -> PointFunction:
    return lambda y: jax.jvp(u, (y,), (vector,))[1]
