"""Least squares in random tanh features: a network of which only the last layer moves."""

import numpy as np
from race import Unable


SPREAD = {"helmholtz_2d": 2.0}
"""Weights and biases are uniform in [-1, 1], or in [-2, 2] for Helmholtz: the best of 1,
2 and 3 (coordinates are scaled to [-1, 1])."""

BOUNDARY = 100.0


def least_squares(race):
    statement = race.statement
    if not statement.linear:
        raise Unable("the equation is not linear")
    lower, upper = np.array(statement.lower), np.array(statement.upper)
    stretch = 2 / (upper - lower)
    random = np.random.default_rng(race.seed)
    spread = SPREAD.get(race.name, 1.0)

    def solve(num):
        weights = random.uniform(-spread, spread, (statement.dim, num))
        biases = random.uniform(-spread, spread, num)
        inside, on = statement.training(race.seed, (4 * num, num))
        race.params, race.points = num, len(inside) + len(on)

        def features(points):
            return np.tanh((stretch * (points - lower) - 1) @ weights + biases)

        u = features(inside)
        # Of tanh, by the chain rule; an axis at a time, to be used at once.
        du = [(1 - u**2) * (s * w) for s, w in zip(stretch, weights, strict=True)]
        ddu = [
            -2 * u * d * (s * w) for d, s, w in zip(du, stretch, weights, strict=True)
        ]
        x = inside.T[..., None]
        source = np.broadcast_to(statement.source(x), (len(inside), 1))
        rows = statement.equation(np, x, u, du, ddu) - source
        matrix = np.concatenate([rows, BOUNDARY * features(on)])
        wanted = np.concatenate([-source[:, 0], BOUNDARY * statement.data(np, on.T)])
        size = np.linalg.norm(matrix, axis=0)
        last = np.linalg.lstsq(matrix / size, wanted)[0] / size
        return lambda points: features(points) @ last

    race.refine((50, 100, 200, 400, 800, 1600, 3200), solve)
