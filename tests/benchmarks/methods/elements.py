"""Quadratic finite elements of scikit-fem; in time, where there is time, Crank-Nicolson."""

import numpy as np
from race import Unable


def quadratic(race):
    statement = race.statement
    if statement.dim != 2:
        raise Unable(f"no elements of {statement.dim} dimensions")
    if not statement.linear:
        raise Unable("only linear equations are stated for it here")
    # Without data on the final face the first coordinate is time.
    stationary = (0, 1) in statement.faces
    solve = _stationary if stationary else _in_time
    race.refine((8, 16, 32, 64, 128, 256, 512), lambda num: solve(race, num))


def _stationary(race, num):
    import skfem

    statement = race.statement
    value, slopes, seconds = statement.coefficients()

    @skfem.BilinearForm
    def form(u, v, _):
        steep = sum(seconds[i] * u.grad[i] * v.grad[i] for i in (0, 1))
        return (value * u + sum(slopes[i] * u.grad[i] for i in (0, 1))) * v - steep

    @skfem.LinearForm
    def load(v, w):
        return -statement.source(w.x) * v

    ends = zip(statement.lower, statement.upper, strict=True)
    mesh = skfem.MeshTri.init_tensor(*(np.linspace(*pair, num + 1) for pair in ends))
    basis = skfem.Basis(mesh, skfem.ElementTriP2())
    on = basis.get_dofs().all()
    u = np.zeros(basis.N)
    u[on] = statement.data(np, basis.doflocs[:, on])
    system = skfem.condense(form.assemble(basis), load.assemble(basis), x=u, D=on)
    u = skfem.solve(*system)
    race.params = race.points = basis.N

    def values_at(points):
        # A few at a time: the search for their elements takes much memory.
        parts = np.array_split(points.T, 50, axis=1)
        return np.concatenate([basis.probes(part) @ u for part in parts])

    return values_at


def _in_time(race, num):
    import skfem
    from scipy.interpolate import CubicSpline
    from scipy.sparse.linalg import splu
    from skfem.models.poisson import mass

    statement = race.statement
    value, slopes, seconds = statement.coefficients()

    @skfem.BilinearForm
    def form(u, v, _):
        return (value * u + slopes[1] * u.grad[0]) * v - seconds[1] * u.grad[
            0
        ] * v.grad[0]

    @skfem.LinearForm
    def load(v, w):
        return statement.source([w.t, w.x[0]]) * v

    mesh = skfem.MeshLine(np.linspace(statement.lower[1], statement.upper[1], num + 1))
    basis = skfem.Basis(mesh, skfem.ElementLineP2())
    inner = basis.complement_dofs(basis.get_dofs())
    # As accurate as the elements: two orders in time, three in space.
    times = np.linspace(statement.lower[0], statement.upper[0], int(num**1.5) + 1)
    half = (times[1] - times[0]) / 2
    weight, change = (slopes[0] * mass.assemble(basis)).tocsc(), form.assemble(basis)
    after, before = weight + half * change, weight - half * change
    factors = splu(after[inner][:, inner].tocsc())
    x = basis.doflocs[0]
    rows = statement.data(np, [times[:, None], x])
    for k, time in enumerate(times[1:]):
        right = before @ rows[k] - 2 * half * load.assemble(basis, t=time - half)
        rows[k + 1][inner] = 0
        right -= after @ rows[k + 1]
        rows[k + 1][inner] = factors.solve(right[inner])
    race.params = race.points = basis.N

    def values_at(points):
        parts = np.array_split(points, 50)
        path = CubicSpline(times, rows)
        where = [basis.probes(part[:, 1][None]) for part in parts]
        found = [
            w.multiply(path(p[:, 0])).sum(axis=1)
            for w, p in zip(where, parts, strict=True)
        ]
        return np.concatenate(found)

    return values_at
