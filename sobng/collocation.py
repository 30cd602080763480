"""Points with weights for every condition of a problem."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sobng.geometry.grading import GradedRule, GradedSample, Grading
from sobng.geometry.samplers import Gauss, Sobol
from sobng.problem import Energy, Problem


class Collocation(eqx.Module):
    """Points and quadrature weights, keyed by the names of the conditions.

    The weights of a condition sum to the measure of its region. The points are array
    leaves: other points of the same number compile nothing. The interior of an
    [`sobng.Energy`][] has the empty name.
    """

    points: dict[str, Float[Array, "n dim"]]
    weights: dict[str, Float[Array, " n"]]

    def __init__(self, points: Mapping[str, Any], weights: Mapping[str, Any]):
        """**Arguments:**

        - `points`: for every condition an array of shape `(n, dim)`.
        - `weights`: for every condition an array of shape `(n,)`.

        **Raises:** `ValueError` if shapes disagree, a set is empty, a value is not
        finite or a weight is negative.
        """
        for name, p in points.items():
            w = weights.get(name)
            label = name or "interior"
            if w is None or np.ndim(p) != 2 or np.shape(w) != (np.shape(p)[0],):
                raise ValueError(
                    f"Condition '{label}' needs points of shape (n, dim) and weights of "
                    f"shape (n,). Got {np.shape(p)} and "
                    f"{None if w is None else np.shape(w)}."
                )
            if np.shape(p)[0] == 0:
                raise ValueError(
                    f"Condition '{label}' has zero points. Ask for at least one."
                )
            if isinstance(p, np.ndarray | jax.Array) and not isinstance(
                p, jax.core.Tracer
            ):
                if not np.all(np.isfinite(p)):
                    raise ValueError(f"A point of condition '{label}' is not finite.")
                if not np.all(np.asarray(w) >= 0):
                    raise ValueError(
                        f"Condition '{label}' has a negative or undefined weight. "
                        "Quadrature weights are at least zero."
                    )
        self.points = {k: jnp.asarray(v) for k, v in points.items()}
        self.weights = {k: jnp.asarray(v) for k, v in weights.items()}

    def check(self, names) -> None:
        """Raises `ValueError` unless there are points for all of `names`."""
        missing = [name for name in names if name not in self.points]
        if missing:
            raise ValueError(
                f"The collocation has no points for {missing}. It has points for "
                f"{sorted(self.points)}."
            )

    @property
    def dtype(self):
        """The precision of the points."""
        return jnp.result_type(*jax.tree.leaves(self.points))

    def astype(self, dtype) -> "Collocation":
        """The same points in another precision."""
        return jax.tree.map(lambda leaf: leaf.astype(dtype), self)

    def shard(self, mesh: jax.sharding.Mesh) -> "Collocation":
        """Spreads the points of every condition over the first axis of a mesh.

        A number of points that the devices do not divide is filled up with copies of
        weight zero.
        """
        axis = mesh.axis_names[0]
        devices = mesh.shape[axis]
        rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis))

        def fill(leaf, value):
            extra = -leaf.shape[0] % devices
            tail = jnp.broadcast_to(value, (extra, *leaf.shape[1:]))
            return jax.device_put(jnp.concatenate([leaf, tail]), rows)

        points = {k: fill(p, p[-1]) for k, p in self.points.items()}
        weights = {k: fill(w, jnp.zeros((), w.dtype)) for k, w in self.weights.items()}
        return eqx.tree_at(lambda c: (c.points, c.weights), self, (points, weights))


def regions(problem: Problem | Energy) -> dict[str, Any]:
    """The region of every condition, and of an energy's density under the name ''."""
    found = {c.name: c.region for c in problem.conditions}
    if isinstance(problem, Energy):
        found[""] = problem.domain.interior
    return found


def discretise(
    problem: Problem | Energy,
    num: int | None = None,
    *,
    sampler: Callable | Mapping[str, Callable] | None = None,
    key: jax.Array,
) -> Collocation:
    """Chooses points and weights for every condition.

    **Arguments:**

    - `num`: about how many points in the interior; boundary parts get a number that
        resolves them as finely.
    - `sampler`: one sampler for all conditions, or a dict from names to samplers.
        By default Gauss rules up to three dimensions and scrambled Sobol points beyond.
    - `key`: for the samplers that are random.

    **Raises:** `ValueError` for a name that is not a condition, or if `num < 1`.

    !!! example

        ```python
        import jax, sobng as sn

        square = sn.Box((0.0, 0.0), (1.0, 1.0))
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x), square.interior,
                         name="laplace"),
            sn.Dirichlet(square.boundary, lambda x: x[0], name="wall"),
        )
        collocation = sn.discretise(problem, 400, key=jax.random.key(0))
        ```
    """
    found = regions(problem)
    if isinstance(sampler, Mapping):
        unknown = set(sampler) - set(found)
        if unknown:
            raise ValueError(
                f"No condition is called {sorted(unknown)}. The conditions are "
                f"{sorted(found)}."
            )
    num = default_points(problem.dim) if num is None else num
    if not num >= 1:
        raise ValueError(f"The number of points is at least 1. Got {num}.")
    points, weights = {}, {}
    for i, (name, region) in enumerate(sorted(found.items())):
        chosen = sampler.get(name) if isinstance(sampler, Mapping) else sampler
        chosen = default_sampler(region, num) if chosen is None else chosen
        points[name], weights[name] = chosen(region, jax.random.fold_in(key, i))
    return Collocation(points, weights)


def default_points(dim: int) -> int:
    """How many interior points are used when nothing is said."""
    return {1: 200, 2: 1600, 3: 4096}.get(dim, 4000)


def default_sampler(region, num: int):
    """Gauss rules up to three dimensions, Sobol points beyond."""
    if region.is_boundary:
        # As fine along the boundary as in the interior: n^((d-1)/d) for each side.
        dim = region.dim
        share = num ** ((dim - 1) / dim)
        sides = len(region.faces) if region.faces else 4
        num = max(1, round(sides * share)) if dim <= 3 else max(1, num // 4)
    return Gauss(num) if region.dim <= 3 else Sobol(num)


OTHER_RULE = 1.5
"""Points of a rule that are held out, for each that is trained on at first; doubling never
leads from one to the other."""


MOST = 2**14
"""Interior points beyond which the number of parameters asks for no more: the system of a
field with more is solved in the space of its rows."""

GLANCE = 8
"""Held-out points at most for each that is trained on, so that a look stays cheap."""


class PointPlan(eqx.Module):
    """How the points of a run are made, and made finer when it over-fits."""

    problem: Problem | Energy
    given: Any
    num: int = eqx.field(static=True)
    key: jax.Array

    def __init__(
        self, problem: Problem | Energy, given: Any, params: float, key: jax.Array
    ):
        """**Arguments:**

        - `given`: what the user passed: a [`sobng.Collocation`][], a number of interior
            points, a sampler, a dict of samplers, or `None`.
        - `params`: how many numbers move at most, for each row of a point; fewer than
            about three rows for each number over-fit.

        **Raises:** `ValueError` if `given` is of none of these kinds.
        """
        kinds = Collocation | int | Mapping | None
        if not (isinstance(given, kinds) or callable(given)) or isinstance(given, bool):
            raise ValueError(
                "`collocation` is a `Collocation`, a number of points, a sampler or a "
                f"dict of samplers. Got {given!r}."
            )
        floor = default_points(problem.dim)
        wanted = max(floor, min(MOST, round(3 * params)))
        self.num = given if isinstance(given, int) else wanted
        if self.num < 1:
            raise ValueError(f"The number of points is at least 1. Got {self.num}.")
        self.problem = problem
        self.given = given
        self.key = key

    @property
    def refinable(self) -> bool:
        """Whether the number of points is ours to choose."""
        return self.given is None or isinstance(self.given, int)

    @staticmethod
    def dtype_of(unknown: Any):
        """The precision of an unknown's arrays."""
        leaves = [a for a in jax.tree.leaves(unknown) if eqx.is_inexact_array(a)]
        return jnp.result_type(*leaves) if leaves else jnp.result_type(float)

    def training(
        self, level: float | int, grading: Grading | None = None, *, draw: int = 0
    ) -> Collocation:
        """The points that are trained on; each level doubles them, each draw is new where
        the sampler is random, and where a grading stretches they are dense."""
        if isinstance(self.given, Collocation):
            self.given.check(name for name in regions(self.problem))
            return self.given
        sampler = None if self.refinable else self.given
        num = round(self.num * 2**level)
        if sampler is None and grading is not None:
            sampler = {
                name: GradedRule(default_sampler(region, num), grading)
                for name, region in regions(self.problem).items()
            }
        key = jax.random.fold_in(self.key, draw) if draw else self.key
        return discretise(self.problem, num, sampler=sampler, key=key)

    def held_out(
        self, training: Collocation, grading: Grading | None = None
    ) -> Collocation:
        """Random points that are never trained on; many more, and half of them dense at
        the walls, where the training's are graded.

        Where a condition is measured in a norm of its own, a rule: random points see a
        rough residual as a smooth one, which a dual norm weighs more.
        """
        num = default_points(self.problem.dim) // 2
        key = jax.random.fold_in(self.key, 1 << 20)

        def sampler(condition):
            if getattr(condition, "norm", None) is not None:
                return Gauss(round(OTHER_RULE * self.num))
            if grading is not None:
                return GradedSample(8 * num)
            most = GLANCE * len(training.points[condition.name])
            own = max(8, num // 4) if condition.region.is_boundary else num
            return Sobol(min(own, most))

        samplers = {c.name: sampler(c) for c in self.problem.conditions}
        samplers |= {"": Sobol(num)} if isinstance(self.problem, Energy) else {}
        return discretise(self.problem, num, sampler=samplers, key=key)
