"""Quadratic finite elements of scikit-fem on the whole box, time included."""

import numpy as np
from race import Unable


def quadratic(race):
    from skfem import (
        Basis,
        BilinearForm,
        condense,
        ElementTriP2,
        LinearForm,
        MeshTri,
        solve as solve_system,
    )

    statement = race.statement
    if statement.dim != 2:
        raise Unable(f"no elements of {statement.dim} dimensions")
    if not statement.linear:
        raise Unable("only linear equations are stated for it here")
    value, slopes, seconds = statement.coefficients()

    @BilinearForm
    def form(u, v, _):
        steep = sum(seconds[i] * u.grad[i] * v.grad[i] for i in (0, 1))
        return (value * u + sum(slopes[i] * u.grad[i] for i in (0, 1))) * v - steep

    @LinearForm
    def load(v, w):
        return -statement.source(w.x) * v

    ends = np.array([statement.lower, statement.upper])

    def solve(num):
        mesh = MeshTri.init_tensor(*(np.linspace(*ends[:, i], num + 1) for i in (0, 1)))
        basis = Basis(mesh, ElementTriP2())
        on = [
            basis.get_dofs(lambda x, a=a, s=s: x[a] == ends[s, a]).all()
            for a, s in statement.faces
        ]
        on = np.unique(np.concatenate(on))
        u = np.zeros(basis.N)
        u[on] = statement.data(np, basis.doflocs[:, on])
        u = solve_system(
            *condense(form.assemble(basis), load.assemble(basis), x=u, D=on)
        )
        race.params = race.points = basis.N

        def values_at(points):
            # A few at a time: the search for their elements takes much memory.
            parts = np.array_split(points.T, 50, axis=1)
            return np.concatenate([basis.probes(part) @ u for part in parts])

        return values_at

    race.refine((8, 16, 32, 64, 128, 192, 256), solve)
