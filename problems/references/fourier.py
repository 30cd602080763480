"""Fourier references for periodic evolutions, by exponential time differencing.

Run as a script, with names of problems or none for all:

    python problems/references/fourier.py kdv_1d

Each is solved with two resolutions and two step sizes; the finer result is stored for a
few times with the relative L2 difference of the two at the end.
"""

import pathlib
import sys

import numpy as np


FOLDER = pathlib.Path(__file__).resolve().parent
EXTENDED = np.longdouble
"""Rounding of this precision is lost in none of the problems, chaotic as they are."""

PI = EXTENDED(np.pi)
"""That of the problem files: a chaotic solution tells it from the exact one."""

TIMES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
"""Stored times, as parts of the horizon."""


class Grid:
    """A periodic box with `num` points along each axis."""

    def __init__(self, lower, upper, num, dim):
        self.num, self.dim = num, dim
        length = EXTENDED(upper - lower)
        nodes = lower + length * np.arange(num) / num
        self.points = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"))
        waves = 2 * PI / length * np.fft.fftfreq(num, 1 / num).round()
        self.waves = np.stack(np.meshgrid(*[waves] * dim, indexing="ij"))
        # Products of three factors are cut at half the spectrum, of two at two thirds.
        top = np.max(np.abs(waves))
        self.keep = {
            2: np.all(np.abs(self.waves) < 2 / 3 * top, axis=0),
            3: np.all(np.abs(self.waves) < 1 / 2 * top, axis=0),
        }
        self.axes = tuple(range(-dim, 0))

    def fft(self, values):
        return np.fft.fftn(values, axes=self.axes)

    def values(self, spectrum):
        return np.fft.ifftn(spectrum, axes=self.axes)


def coefficients(linear, step):
    """The weights of the fourth-order scheme of Cox and Matthews, by contour means."""
    roots = np.exp(1j * PI * (np.arange(64) + 0.5) / 32)
    z = step * linear[..., None] + roots
    mean = lambda f: step * np.mean(f, axis=-1)
    half = mean((np.exp(z / 2) - 1) / z)
    first = mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3)
    middle = mean((2 + z + np.exp(z) * (z - 2)) / z**3)
    last = mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3)
    return np.exp(step * linear), np.exp(step * linear / 2), half, first, middle, last


def march(linear, nonlinear, start, horizon, steps, times=TIMES):
    """The spectra at some times, given as parts of the horizon."""
    step = EXTENDED(horizon) / steps
    full, part, half, first, middle, last = coefficients(linear, step)
    v, stored = start, [start]
    marks = {round(part_of * steps) for part_of in times[1:]}
    for number in range(1, steps + 1):
        n0 = nonlinear(v)
        a = part * v + half * n0
        na = nonlinear(a)
        b = part * v + half * na
        nb = nonlinear(b)
        c = part * a + half * (2 * nb - n0)
        v = full * v + first * n0 + 2 * middle * (na + nb) + last * nonlinear(c)
        if number in marks:
            stored.append(v)
    return np.stack(stored)


def allen_cahn_1d(num):
    grid = Grid(-1.0, 1.0, num, 1)
    k = grid.waves[0]

    def nonlinear(v):
        return -5 * grid.fft(grid.values(v).real ** 3) * grid.keep[3]

    # The exact coefficients of x² cos(πx): at grid points its kink at x = ±1 would alias,
    # which is 1e-8 of the solution still at t = 0.25.
    m = np.round(k / PI)

    def moment(n):
        where = np.where(n == 0, 1, n)
        return np.where(n == 0, 2 * PI**2 / 3, 4 * (-1.0) ** n / where**2) / PI**2

    spectrum = (-1.0) ** m * (moment(m - 1) + moment(m + 1)) / 4
    start = grid.values(num * spectrum).real
    return grid, -EXTENDED("1e-4") * k**2 + 5, nonlinear, start, 1.0


def kdv_1d(num):
    grid = Grid(-1.0, 1.0, num, 1)
    k = grid.waves[0]

    def nonlinear(v):
        return -0.5j * k * grid.fft(grid.values(v).real ** 2) * grid.keep[2]

    return (
        grid,
        1j * EXTENDED("0.022") ** 2 * k**3,
        nonlinear,
        np.cos(PI * grid.points[0]),
        1.0,
    )


def kuramoto_sivashinsky_1d(num):
    grid = Grid(0, 2 * PI, num, 1)
    k = grid.waves[0]
    x = grid.points[0]

    def nonlinear(v):
        return -3.125j * k * grid.fft(grid.values(v).real ** 2) * grid.keep[2]

    linear = 0.390625 * k**2 - EXTENDED(100) / 16**4 * k**4
    return grid, linear, nonlinear, np.cos(x) * (1 + np.sin(x)), 1.0


def schroedinger_1d(num):
    grid = Grid(-15.0, 15.0, num, 1)
    k = grid.waves[0]

    def nonlinear(v):
        h = grid.values(v)
        return 1j * grid.fft(np.abs(h) ** 2 * h) * grid.keep[3]

    return grid, -0.5j * k**2, nonlinear, 2 / np.cosh(grid.points[0]), np.pi / 2


def _plane(num):
    grid = Grid(0, 2 * PI, num, 2)
    a, b = np.sin(grid.points)
    start = (
        np.exp(3 * a + b) + np.exp(-3 * a + b) - np.exp(3 * a - b) - np.exp(-3 * a - b)
    )
    return grid, -np.sum(grid.waves**2, axis=0) / 10, start / 100


def heat_2d(num):
    grid, linear, start = _plane(num)
    return grid, linear, lambda v: 0 * v, start, 4.0


def allen_cahn_2d(num):
    grid, linear, start = _plane(num)

    def nonlinear(v):
        return -grid.fft(grid.values(v).real ** 3) * grid.keep[3]

    return grid, linear + 1, nonlinear, start, 4.0


def burgers_2d(num):
    grid, linear, start = _plane(num)
    k = np.sum(grid.waves, axis=0)

    def nonlinear(v):
        return -0.5j * k * grid.fft(grid.values(v).real ** 2) * grid.keep[2]

    return grid, linear, nonlinear, start, 4.0


# Points along an axis and steps: a coarser and a finer run.
RUNS = {
    allen_cahn_1d: ((2048, 2000), (4096, 4000)),
    kdv_1d: ((768, 32000), (1024, 64000)),
    kuramoto_sivashinsky_1d: ((640, 32000), (768, 64000)),
    schroedinger_1d: ((2048, 16000), (3072, 32000)),
    heat_2d: ((96, 4), (128, 8)),
    allen_cahn_2d: ((160, 1000), (192, 2000)),
    burgers_2d: ((96, 2000), (128, 4000)),
}


def spectra(problem, num, steps, times=TIMES):
    """Normalised Fourier coefficients `[times, *waves]`, and the horizon."""
    grid, linear, nonlinear, start, horizon = problem(num)
    stored = march(linear, nonlinear, grid.fft(start), horizon, steps, times)
    # Relative to the lower corner, and one for a constant.
    return stored / num**grid.dim, horizon


def cut(stored, num):
    """The lowest `num` waves of each axis."""
    index = np.fft.fftfreq(num, 1 / num).astype(int)
    for axis in range(1, stored.ndim):
        stored = np.take(stored, index, axis=axis)
    return stored


def main(names):
    for problem, (coarse, fine) in RUNS.items():
        if names and problem.__name__ not in names:
            continue
        first, _ = spectra(problem, *coarse)
        second, horizon = spectra(problem, *fine)
        apart = cut(second, coarse[0]) - first
        size = np.linalg.norm(second.reshape(len(TIMES), -1), axis=1)
        difference = np.linalg.norm(apart.reshape(len(TIMES), -1), axis=1) / size
        # What is below rounding is not stored.
        num = 0
        while True:
            num += 32
            # What is left out itself: a difference of squares would be all rounding.
            order = np.abs(np.fft.fftfreq(second.shape[-1], 1 / second.shape[-1]))
            beyond = np.zeros(second.shape[1:], bool)
            for axis in range(beyond.ndim):
                shape = [-1 if a == axis else 1 for a in range(beyond.ndim)]
                beyond |= (order >= num / 2).reshape(shape)
            left = np.linalg.norm(second[1:, beyond])
            if num >= coarse[0] or left < 1e-15 * np.linalg.norm(second[1:]):
                break
        np.savez_compressed(
            FOLDER / f"{problem.__name__}.npz",
            spectra=cut(second, num).astype(complex),
            times=(TIMES * horizon).astype(float),
            agreement=difference.astype(float),
        )
        print(problem.__name__, num, difference, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
