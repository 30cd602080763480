"""How far a field is from a reference, at points that no training has seen."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from sobng.calculus import jacobian
from sobng.geometry.domain import AbstractDomain
from sobng.precision import precise
from sobng.typing import HostPoints, Point, PointFunction, Unknown


# Fixed, so that errors of two runs are measured at the same points.
_SEED = 20_231_123
_BATCH = 1024


def observed(observe: Any = None) -> Callable[[Unknown, Point], Array]:
    """What is observed of an unknown, as a function of it and of one point.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        velocity = sn.observed((0, 1))
        velocity(lambda x: jnp.stack([x[0], x[1], x[0] * x[1]]), jnp.array([2.0, 3.0]))
        ```

    **Arguments:**

    - `observe`: `None` for the value itself (of a dict, of its only field), one or
        several components, a key of a dict, a function of the value, a function
        `observe(u, x)`, or a function of the unknown that returns a function of one
        point (or, for a dict, an array).

    **Returns:** `observation(u, x)`, an array.

    **Raises:** `ValueError` if `observe` is of another kind; at the call, if a dict has
    not exactly one field, or not the key, or a field not so many components.
    """
    if observe is None:
        return _value
    if isinstance(observe, str):
        return lambda u, x: _entry(u, observe, x)
    if _is_index(observe):
        return lambda u, x: _components(_value(u, x), observe)
    if isinstance(observe, list | tuple) and observe and all(map(_is_index, observe)):
        indices = np.asarray(observe)
        return lambda u, x: _components(_value(u, x), indices)
    if callable(observe):
        return _of_function(observe)
    raise ValueError(
        "`observe` is a component, a tuple of components, the key of a dict, or a "
        f"function. Got {observe!r}. Leave it out to observe the whole value."
    )


def _is_index(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _components(value: Array, indices: Any) -> Array:
    # JAX would take the last one for any that is not there.
    out = value.shape[0] if value.ndim else 0
    if not np.all((-out <= np.asarray(indices)) & (np.asarray(indices) < out)):
        raise ValueError(
            f"`observe` is a component of the field's value. Got {indices!r}, and values "
            f"of shape {value.shape}. Leave it out for a scalar."
        )
    return value[indices]


def _value(u: Unknown, x: Point) -> Array:
    if not isinstance(u, dict):
        return u(x)
    fields = [key for key, value in u.items() if callable(value)]
    if len(fields) != 1:
        raise ValueError(
            f"The unknown is a dict with the fields {fields}, of which one has to be "
            "chosen. Say which with `observe=`, for instance its key."
        )
    return u[fields[0]](x)


def _entry(u: Unknown, key: str, x: Point) -> Array:
    if not isinstance(u, dict) or key not in u:
        there = sorted(u) if isinstance(u, dict) else "a single field"
        raise ValueError(
            f"The unknown has no entry '{key}' to observe. Got {there}. Give one of "
            "the keys of a dict."
        )
    return u[key](x) if callable(u[key]) else jnp.asarray(u[key])


def _of_function(observe: Callable) -> Callable[[Unknown, Point], Array]:
    if _num_required(observe) == 2:
        return lambda u, x: jnp.asarray(observe(u, x))

    of_any: Any = observe

    def observation(u, x):
        if isinstance(u, dict):
            found = of_any(u)
            return of_any(u)(x) if callable(found) else jnp.asarray(found)
        try:
            found = of_any(u(x))
        except (TypeError, AttributeError):
            # As operators do, which ask for a function.
            return of_any(u)(x)
        # Other functions of the unknown return a function, whatever they are given.
        return of_any(u)(x) if callable(found) else jnp.asarray(found)

    return observation


def _num_required(function: Callable) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters)


def unknown_of(solution: Any) -> Unknown:
    """The unknown inside a solution; anything else is returned as it is."""
    return solution.field if hasattr(solution, "history") else solution


def float_dtype(unknown: Unknown) -> Any:
    """The precision of the arrays of an unknown; the session's where it has none."""
    leaves = [a for a in jax.tree.leaves(unknown) if isinstance(a, jax.Array)]
    dtypes = [a.dtype for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]
    return jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)


def relative_errors(
    field: Any,
    reference: PointFunction,
    domain: AbstractDomain | None = None,
    observe: Any = None,
    num: int = 8192,
) -> tuple[float, float | None]:
    r"""The errors against a reference, relative to it, in $L^2$ and $H^1$.

    $$\frac{\lVert u - u^* \rVert}{\lVert u^* \rVert}, \qquad
    \lVert v \rVert_{H^1}^2 = \lVert v \rVert^2 + \lVert \nabla v \rVert^2,$$

    with integrals over the whole domain, time included, by scrambled Sobol points of a
    fixed seed: the same for every run, and in no rule that is trained on.

    !!! example

        ```python
        import jax.numpy as jnp
        import sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        field, reference = lambda x: 1.01 * x[0], lambda x: x[0]
        sn.relative_errors(field, reference, square)    # (0.01, 0.01)
        ```

    **Arguments:**

    - `field`: a [`sobng.Solution`][], a field, or a dict of fields and arrays.
    - `reference`: the exact solution at one point, a scalar or a vector. One that JAX
        cannot trace is called point by point.
    - `domain`: over what to integrate; that of the solution by default.
    - `observe`: what the reference speaks of, as in [`sobng.observed`][].
    - `num`: how many points; powers of two are best.

    **Returns:** the relative errors in $L^2$ and $H^1$; the latter is `None` where the
    reference cannot be differentiated.

    **Raises:** `ValueError` if field and reference differ in shape, if the reference
    vanishes, or without a domain.
    """
    domain = getattr(field, "domain", None) if domain is None else domain
    unknown = unknown_of(field)
    if domain is None:
        raise ValueError(
            "`relative_errors` needs a domain to integrate over. Got none. Pass "
            "`domain=`."
        )
    dtype = float_dtype(unknown)
    points, weights = domain.interior.sample(num, jr.key(_SEED))
    points = jnp.asarray(points, dtype)
    look = observed(observe)
    one = lambda x: look(unknown, x)
    found = _with_slopes(one, points)
    # Rounded as the field's points are, but evaluated as precisely as can be.
    wanted = _reference(reference, points.astype(jnp.result_type(float)))
    _check_shapes(found[0], wanted[0])
    parts = [_squares(f, w, weights) for f, w in zip(found, wanted, strict=True)]
    (error, size), (slope_error, slope_size) = parts
    if size == 0:
        raise ValueError(
            "The reference vanishes everywhere, so that no error is relative to it. "
            "Check `reference`, or compare absolute values."
        )
    relative_h1 = float(np.sqrt((error + slope_error) / (size + slope_size)))
    differentiable = wanted[1] is not None and np.isfinite(slope_size)
    return float(np.sqrt(error / size)), relative_h1 if differentiable else None


def _with_slopes(
    function: PointFunction, points: Float[Array, "n dim"]
) -> tuple[np.ndarray, np.ndarray]:
    """Values `[n, *out]` and derivatives `[n, *out, dim]` at many points."""

    @jax.jit
    @precise
    def run(points):
        def one(x):
            return jnp.asarray(function(x)), jnp.asarray(jacobian(function)(x))

        return jax.lax.map(one, points, batch_size=min(_BATCH, len(points)))

    values, slopes = run(points)
    return np.asarray(values, np.float64), np.asarray(slopes, np.float64)


def _reference(
    reference: PointFunction, points: Float[Array, "n dim"]
) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        return _with_slopes(lambda x: jnp.asarray(reference(x), x.dtype), points)
    except (jax.errors.JAXTypeError, NotImplementedError):
        # A function of NumPy arrays, or one without a derivative.
        return at_each(reference, np.asarray(points)), None


def values_at(function: PointFunction, points: Float[Array, "n dim"]) -> np.ndarray:
    """Values `[n, *out]` in float64; JAX need not be able to trace the function."""

    @jax.jit
    @precise
    def run(points):
        one = lambda x: jnp.asarray(function(x), x.dtype)
        return jax.lax.map(one, points, batch_size=min(_BATCH, len(points)))

    try:
        return np.asarray(run(points), np.float64)
    except (jax.errors.JAXTypeError, NotImplementedError):
        return at_each(function, np.asarray(points))


def at_each(reference: PointFunction, points: HostPoints) -> np.ndarray:
    """A reference that may not be traceable at many points, in float64."""
    return np.stack([np.asarray(reference(x), np.float64) for x in points])


def _check_shapes(found: np.ndarray, wanted: np.ndarray) -> None:
    if found.shape != wanted.shape:
        raise ValueError(
            f"The field gives values of shape {found.shape[1:]} and the reference of "
            f"shape {wanted.shape[1:]}. Choose what to compare with `observe=`."
        )


def _squares(
    found: np.ndarray, wanted: np.ndarray | None, weights: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    """The integrals of the squared difference and of the squared reference."""
    if wanted is None:
        return 0.0, 0.0
    rows: Sequence[np.ndarray] = (found - wanted, wanted)
    sums = [np.sum(r.reshape(len(r), -1) ** 2, axis=1) for r in rows]
    return float(weights @ sums[0]), float(weights @ sums[1])
