"""A periodic function by its Fourier coefficients, for references that were computed."""

import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sobng.typing import Point, Value


class FourierSeries(eqx.Module):
    r"""A periodic function $u(t, x)$ by its Fourier coefficients at a few times.

    Between these times it is `nan`. Made for references that are computed once and
    stored.

    !!! example

        ```python
        import jax.numpy as jnp
        import numpy as np
        import sobng as sn

        waves = np.array([[0.0, -0.5j, 0.5j]])      # sin(2 pi x), in the order of an FFT
        wave = sn.FourierSeries(waves, [0.0], (0.0,), (1.0,))
        wave(0.0, jnp.array([0.25]))                # 1
        ```
    """

    spectra: np.ndarray
    times: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    both: bool = eqx.field(static=True)

    def __init__(self, spectra: Any, times: Any, lower: Any, upper: Any, *, both=False):
        """**Arguments:**

        - `spectra`: coefficients `[times, *waves]`, in the order of an FFT from the lower
          corner of the period, one for a constant.
        - `times`: the time of each.
        - `lower`, `upper`: opposite corners of the period.
        - `both`: the value is `(Re u, Im u)`; by default `Re u` alone.

        **Raises:** `ValueError` if there is not one axis of waves for each coordinate,
        and one spectrum for each time.
        """
        self.spectra = np.asarray(spectra, complex)
        self.times = np.asarray(times, float)
        self.lower, self.upper = np.asarray(lower, float), np.asarray(upper, float)
        shape = self.spectra.shape
        if len(shape) != 1 + len(self.lower) or shape[:1] != self.times.shape:
            raise ValueError(
                "`FourierSeries` needs coefficients [times, *waves], with one axis of "
                f"waves for each coordinate. Got shape {shape} for {len(self.times)} times "
                f"and {len(self.lower)} coordinates."
            )
        self.both = both

    @classmethod
    def load(cls, path: Any, lower: Any, upper: Any, *, both=False) -> "FourierSeries":
        """Reads `spectra` and `times` from an NPZ file."""
        with np.load(pathlib.Path(path)) as data:
            return cls(data["spectra"], data["times"], lower, upper, both=both)

    def __call__(self, t: Any, x: Point) -> Value:
        kind = jnp.result_type(float)
        at = jnp.asarray(t, kind)
        gaps = jnp.abs(jnp.asarray(self.times, kind) - at)
        value = jnp.asarray(self.spectra)[jnp.argmin(gaps)]
        lower, upper = jnp.asarray(self.lower, kind), jnp.asarray(self.upper, kind)
        part = (x.astype(kind) - lower) / (upper - lower)
        for axis in reversed(range(len(self.lower))):
            num = value.shape[axis]
            angle = (
                2
                * jnp.pi
                * part[axis]
                * jnp.asarray(np.fft.fftfreq(num, 1 / num), kind)
            )
            value = value @ jnp.exp(jax.lax.complex(jnp.zeros_like(angle), angle))
        known = jnp.min(gaps) <= 1e-6 * (1 + jnp.abs(at))
        found = jnp.stack([value.real, value.imag]) if self.both else value.real
        return jnp.where(known, found, jnp.nan).astype(x.dtype)
