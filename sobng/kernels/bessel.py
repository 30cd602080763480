r"""Bessel potentials of every real order, as smooth functions of a squared distance.

With $K_\nu$ the modified Bessel function of the second kind,

$$\phi_\nu(t) = t^{\nu/2} K_\nu(\sqrt t), \qquad \phi_\nu' = -\tfrac12 \phi_{\nu - 1}.$$

Written in $t = |x - y|^2$, derivatives in the points never meet the square root at zero.
An order is `fraction + steps` with `fraction` in $(-1/2, 1/2]$: orders that differ by
an integer share the two functions that they are built from.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float


TERMS = 14
"""Of the power series up to r = 2, whose terms fall like 1 / k!^2."""

DEGREE = 22
"""Of the Chebyshev series beyond r = 2."""


def bessel_potential(order: float | int, t: Float[Array, ""]) -> Float[Array, ""]:
    r"""$\phi_\nu(t) / \phi_\nu(0)$ for the order $\nu > 0$: one at zero.

    At $t = 0$ a derivative is right when it exists; terms that are infinite there are
    zero instead, as the factors $x - y$ before them are in every derivative that exists.
    """
    steps = math.ceil(order - 0.5)
    return _scaled(float(order - steps), steps, t)


def _at_zero(order: float) -> float:
    return 2 ** (order - 1) * math.gamma(order)


def _growth(order: float) -> float:
    """The scale of one order over that of the order below it.

    Positive orders are scaled by their value at zero, which keeps float32 from
    overflow; the others are not scaled.
    """
    if order > 1:
        return 2 * (order - 1)
    return _at_zero(order) if order > 0 else 1.0


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _scaled(fraction, steps, t):
    order = fraction + steps
    zero = t <= 0
    t = jnp.where(zero, 1.0, t)
    if order < 0:
        value = t**order * _upward(-fraction, -steps, t) * _at_zero(-order)
        return jnp.where(zero, 0.0, value)
    return jnp.where(zero, 1.0 if order > 0 else 0.0, _upward(fraction, steps, t))


@_scaled.defjvp
def _scaled_jvp(fraction, steps, primals, tangents):
    slope = -0.5 / _growth(fraction + steps)
    return (
        _scaled(fraction, steps, *primals),
        slope * _scaled(fraction, steps - 1, *primals) * tangents[0],
    )


@functools.partial(jax.jit, static_argnums=(0, 1))  # traced once for all derivatives
def _upward(fraction, steps, t):
    """By recurrence from the two lowest orders: all terms are positive, so stable."""
    r = jnp.sqrt(t)
    if abs(fraction) == 0.5:
        decay = math.sqrt(math.pi / 2) * jnp.exp(-r)
        below, value = (decay, decay * (1 + r)) if fraction > 0 else (decay / r, decay)
    else:
        # Each branch sees only arguments of its own, so that neither gives NaN.
        near = _near(fraction, jnp.minimum(t, 4.0))
        far = _far(fraction, jnp.maximum(r, 2.0))
        below, value = (jnp.where(t < 4, a, b) for a, b in zip(near, far, strict=True))
    below = below / (_at_zero(fraction) if fraction > 0 else 1.0)
    value = value / _at_zero(fraction + 1)
    if steps == 0:
        return below
    for order in (fraction + k for k in range(1, steps)):
        rate = 1 / (2 * order * _growth(order))
        below, value = value, value + rate * t * below
    return value


@functools.cache
def _series(fraction: float):
    """The constants of Temme's series at small arguments.

    The terms f_k, p_k, q_k of the series are linear in the first ones: a row holds the
    coefficients of f_0, p_0 and q_0 in K_mu, then in r K_{mu + 1} / 2.
    """
    mu = fraction
    j = np.arange(1, 40)
    zeta = scipy.special.zeta(2 * j + 1)
    odd = np.euler_gamma + float(np.sum(zeta * mu ** (2 * j) / (2 * j + 1)))
    gain = math.sqrt(math.pi * mu / math.sin(math.pi * mu)) if mu else 1.0
    f, p, q = np.eye(3)
    first, second = [f], [p]
    factorial = 1.0
    for k in range(1, TERMS):
        f = (k * f + p + q) / (k**2 - mu**2)
        p, q = p / (k - mu), q / (k + mu)
        factorial *= k
        first.append(f / factorial)
        second.append((p - k * f) / factorial)
    return odd, gain, np.array(first).T.tolist(), np.array(second).T.tolist()


def _near(fraction, t):
    mu = fraction
    odd, gain, first, second = _series(mu)
    # With log Gamma(1 +- mu) = (log gain) -+ mu odd, the terms of order zero are powers
    # of e^(log(2/r) - odd), and nothing is divided by a small mu.
    argument = -0.5 * jnp.log(0.25 * t) - odd
    p = 0.5 * jnp.exp(mu * argument)
    q = 0.5 * jnp.exp(-mu * argument)
    f = jnp.sinh(mu * argument) / mu if mu else argument
    power = gain * t ** (0.5 * mu)

    def total(rows):
        return (
            f * _horner(rows[0], t) + p * _horner(rows[1], t) + q * _horner(rows[2], t)
        )

    return power * total(first), 2 * power * total(second)


def _horner(coefficients, t):
    z = 0.25 * t
    value = jnp.full_like(z, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * z + c
    return value


@functools.cache
def _chebyshev(order: float):
    r"""The coefficients of $\sqrt r e^r K_\nu(r)$ in $2/r$ on (0, 1].

    From $\sqrt 2 \int_0^\infty e^{-s^2} \cosh(2 \nu a) / \cosh a \, ds$ with
    $\sinh a = s / \sqrt{2r}$, where the trapezoidal rule is exact to rounding.
    """
    step = 0.25
    s = step * np.arange(-28, 29)[:, None]
    theta = np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1)
    a = np.arcsinh(s * np.cos(theta / 2) / 2)
    terms = np.exp(-(s**2)) * np.cosh(2 * order * a) / np.cosh(a)
    values = step / math.sqrt(2) * np.sum(terms, axis=0)
    cosines = np.cos(np.arange(DEGREE + 1)[:, None] * theta)
    coefficients = 2 / (DEGREE + 1) * cosines @ values
    coefficients[0] /= 2
    return coefficients.tolist()


def _far(fraction, r):
    x = 4 / r - 1
    decay = r ** (fraction - 0.5) * jnp.exp(-r)
    first = _clenshaw(_chebyshev(fraction), x)
    second = _clenshaw(_chebyshev(fraction + 1), x)
    return decay * first, decay * r * second


def _clenshaw(coefficients, x):
    ahead = value = jnp.zeros_like(x)
    for c in coefficients[:0:-1]:
        ahead, value = value, 2 * x * value - ahead + c
    return x * value - ahead + coefficients[0]
