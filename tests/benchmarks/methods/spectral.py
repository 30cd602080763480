"""Spectral methods for boxes, the bar that no network passes in few dimensions."""

import numpy as np
from statements import VISCOSITY


def _chebyshev(num, lower, upper):
    """Points and the differentiation matrix of degree `num` (Trefethen, 2000, ch. 6)."""
    k = np.arange(num + 1)
    x = -np.cos(np.pi * k / num)
    scale = np.where((k == 0) | (k == num), 2.0, 1.0) * (-1.0) ** k
    matrix = scale[:, None] / scale / (x[:, None] - x + np.eye(num + 1))
    matrix -= np.diag(matrix.sum(axis=1))
    half = (upper - lower) / 2
    return lower + half * (x + 1), matrix / half


def _interpolation(nodes, x):
    """Values at the Chebyshev `nodes` to values at `x`, by the barycentric formula."""
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] /= 2
    gap = x[:, None] - nodes
    exact = gap == 0
    parts = weights / np.where(exact, 1.0, gap)
    rows = parts / parts.sum(axis=1, keepdims=True)
    return np.where(exact.any(axis=1, keepdims=True), exact, rows)


def _along(matrix, array, axis):
    return np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)


def collocation(race):
    """Collocation at Chebyshev points in all coordinates, time included.

    All axes but the first are diagonalised; the first, which may be time and whose
    operator may then not be diagonalisable, is solved for directly.
    """
    statement = race.statement
    if not statement.linear:
        fourier(race)
        return
    value, slopes, seconds = statement.coefficients()
    axes = range(statement.dim)

    def solve(num):
        pairs = [
            _chebyshev(num, *ends)
            for ends in zip(statement.lower, statement.upper, strict=True)
        ]
        nodes = [x for x, _ in pairs]
        operators = [
            seconds[i] * d @ d + slopes[i] * d for i, (_, d) in enumerate(pairs)
        ]
        # Along each axis: what is unknown, the ends with data left out.
        free = [
            slice((i, 0) in statement.faces, num + ((i, 1) not in statement.faces))
            for i in axes
        ]
        inner = np.ix_(*(np.arange(num + 1)[s] for s in free))
        x = np.meshgrid(*nodes, indexing="ij", sparse=True)
        u = np.broadcast_to(statement.data(np, x), (num + 1,) * statement.dim).copy()
        u[inner] = 0
        left = statement.source(x) + value * u
        left = left + sum(_along(operators[i], u, i) for i in axes)
        right = -np.broadcast_to(left, u.shape)[inner]
        small = [operators[i][free[i], free[i]] for i in axes]
        bases, total = [], np.full((1,) * (statement.dim - 1), value)
        for i in axes[1:]:
            eigenvalues, basis = np.linalg.eig(small[i])
            bases.append(basis)
            shape = np.ones(statement.dim - 1, int)
            shape[i - 1] = -1
            total = total + eigenvalues.reshape(shape)
            right = _along(np.linalg.inv(basis), right, i)
        systems = small[0] + total[..., None, None] * np.eye(len(small[0]))
        found = np.linalg.solve(systems, np.moveaxis(right, 0, -1)[..., None])[..., 0]
        found = np.moveaxis(found, -1, 0)
        for i in axes[1:]:
            found = _along(bases[i - 1], found, i)
        u[inner] = found.real
        race.params = race.points = found.size

        def values_at(points):
            def at(points):
                values = u[None]
                for i, x in enumerate(points.T):
                    rows = _interpolation(nodes[i], x)
                    values = np.einsum(
                        "pn,pn...->p...",
                        rows,
                        np.broadcast_to(values, (len(points), *values.shape[1:])),
                    )
                return values

            return np.concatenate([at(p) for p in np.array_split(points, 100)])

        return values_at

    race.refine((4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48), solve)


def fourier(race):
    """Burgers: Fourier in space, with two thirds of the waves, and DOP853 in time."""
    from scipy.integrate import solve_ivp

    statement = race.statement

    def solve(size):
        num, tolerance = size
        race.params = race.points = num
        x = -1 + 2 * np.arange(num) / num
        wave = np.pi * np.arange(num // 2 + 1)
        kept = np.arange(num // 2 + 1) < num / 3

        def change(_, u):
            waves = np.fft.rfft(u)
            squared = np.fft.rfft(u**2) * kept
            return np.fft.irfft(
                -VISCOSITY * wave**2 * waves - 0.5j * wave * squared, num
            )

        start = statement.data(np, np.stack([np.zeros(num), x]))
        options = {"method": "DOP853", "rtol": tolerance, "atol": tolerance}
        path = solve_ivp(change, (0.0, 1.0), start, dense_output=True, **options)

        def values_at(points):
            def at(points):
                waves = np.fft.rfft(path.sol(points[:, 0]), axis=0).T / num
                waves[:, 1:] *= 2
                turn = np.exp(1j * (points[:, 1:] + 1) * wave)
                return np.sum((waves * turn).real, axis=1)

            return np.concatenate([at(p) for p in np.array_split(points, 50)])

        return values_at

    race.refine([(256, 1e-5), (512, 1e-7), (1024, 1e-9), (2048, 1e-11)], solve)
