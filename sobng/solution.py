"""What the user gets: a function, and what is known about it."""

import os
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sobng.evaluation import float_dtype
from sobng.io.serial import load_tree, save_tree
from sobng.once import lean
from sobng.plotting.figures import plot_solution
from sobng.results import RESULTS


class Facts(dict):
    """A dict that is one leaf of a PyTree, and static under `eqx.filter_jit`.

    The names and strings that it holds could not be traced.
    """

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)


class Solution(eqx.Module):
    """A solved problem: callable, differentiable, with what is known about it.

    - `field`: the unknown that was found, with exact conditions built in: a callable of
      one point, or a dict of such and of arrays. The operators of `sobng` (as
      [`sobng.gradient`][]) apply to it.
    - `result`: why the run ended; `RESULTS[solution.result]` says it in words.
    - `error`: an estimate of the relative L2 error, or `None`, and then `error_reason`
      says why.
    - `stats`: steps, seconds, sizes.
    - `history`: arrays of equal length, one number for each look at the run.
    - `problem`: what was solved; `None` after loading.
    - `domain`: where.

    !!! example

        ```python
        import jax, jax.numpy as jnp, sobng as sn

        interval = sn.Interval(0.0, 1.0)
        problem = sn.Problem(
            sn.Condition(lambda u, x, args: sn.laplacian(u)(x) + 1.0, interval.interior,
                         name="poisson"),
            sn.Dirichlet(interval.boundary, 0.0),
        )
        solution = sn.solve(problem, key=jax.random.key(0))
        solution(jnp.linspace(0.0, 1.0, 5)[:, None])    # any leading shape
        solution.save("parabola.sobng")
        sn.load("parabola.sobng")(jnp.array([0.5]))
        ```
    """

    field: PyTree
    result: RESULTS
    stats: Facts
    history: Facts
    error: float | None
    error_reason: str
    problem: Any
    domain: Any

    def __init__(
        self,
        field: PyTree,
        *,
        result: RESULTS,
        stats: Mapping[str, Any],
        history: Mapping[str, Any],
        error: float | None = None,
        error_reason: str = "",
        problem: Any = None,
        domain: Any = None,
    ):
        """**Arguments:** as the attributes of the same names; `domain` is that of the
        problem by default.
        """
        self.field = field
        self.result = result
        self.stats = Facts(stats)
        self.history = Facts({k: np.asarray(v) for k, v in history.items()})
        self.error = None if error is None else float(error)
        self.error_reason = error_reason
        self.problem = problem
        self.domain = getattr(problem, "domain", None) if domain is None else domain

    def __call__(self, x: Any) -> PyTree[Array]:
        """The values at points of any leading shape.

        **Arguments:**

        - `x`: points of shape `(..., dim)`.

        **Returns:** values of shape `(...)` for a scalar field and `(..., out)` for a
        vector field. A dict unknown gives a dict, whose arrays are returned as they
        are.

        **Raises:** `ValueError` if the last axis is not that of a point.
        """
        x = jnp.asarray(x, float_dtype(self.field))
        dim = self.dim
        if x.ndim == 0 or (dim is not None and x.shape[-1] != dim):
            raise ValueError(
                f"A solution takes points of shape (..., {dim or 'dim'}). Got shape "
                f"{x.shape}. One point is an array of its coordinates, time first."
            )
        return _evaluate(self.field, x)

    @property
    def dim(self) -> int | None:
        """Coordinates of a point, where they are known."""
        owner = self.field if self.domain is None else self.domain
        return getattr(owner, "dim", None)

    @property
    def message(self) -> str:
        """Why the run ended, in words."""
        return str(RESULTS[self.result])  # pyright: ignore (an enumeration of Equinox)

    def plot(self, reference: Any = None, *, observe: Any = None, path: Any = None):
        """A figure of the solution, and of its pointwise error if there is a reference.

        **Arguments:**

        - `reference`: the exact solution at one point.
        - `observe`: what to show, as in [`sobng.observed`][].
        - `path`: a file to write it to, for instance a PNG.

        **Returns:** a Matplotlib figure.
        """
        if self.domain is None:
            raise ValueError(
                "A solution without a domain cannot be plotted. Got `domain=None`. "
                "Pass `field` and a domain to `sobng.plot_solution`."
            )
        return plot_solution(
            self.field, self.domain, reference, observe=observe, path=path
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes one file that [`sobng.load`][] reads without the training script.

        sobng's own fields are saved by name and arrays. Functions and modules of yours
        are saved as exported functions: their values are the same, their parameters are
        fixed, and derivatives in the point survive to fourth order (to second beyond
        three dimensions). The problem is not saved.

        **Raises:** `ValueError` if the file cannot be written, or something is not a
        function of one point.
        """
        content = {
            "field": self.field,
            "domain": self.domain,
            "result": _name(self.result),
            "stats": dict(self.stats),
            "history": dict(self.history),
            "error": self.error,
            "error_reason": self.error_reason,
        }
        save_tree(path, content, kind="solution", dim=self.dim)

    def __repr__(self) -> str:
        size = "not estimated" if self.error is None else f"{self.error:.1e}"
        steps, seconds = self.stats.get("num_steps"), self.stats.get("seconds")
        facts = [f"error={size}"]
        facts += [] if steps is None else [f"steps={steps}"]
        facts += [] if seconds is None else [f"seconds={seconds:.1f}"]
        return (
            f"Solution({', '.join(facts)}, result={self.message.partition('. ')[0]!r})"
        )


@lean
def _evaluate(unknown: PyTree, x: Array) -> PyTree[Array]:
    """All fields of an unknown at points `[..., dim]`."""
    points = x.reshape(-1, x.shape[-1])

    def values(field):
        found = jax.vmap(field)(points)
        return found.reshape(*x.shape[:-1], *found.shape[1:])

    if not isinstance(unknown, dict):
        return values(unknown)
    return {k: values(v) if callable(v) else v for k, v in unknown.items()}


def load(path: str | os.PathLike) -> Solution:
    """Reads what [`sobng.Solution.save`][] wrote, without the script that solved it.

    No Python runs from the file. Functions that were exported are compiled programs:
    trust them as far as whoever gave you the file.

    **Arguments:**

    - `path`: the name of the file.

    **Returns:** the solution; its `problem` is `None`.

    **Raises:** `ValueError` if the file is absent, corrupt, not one of sobng's, written
    by a newer version, or holds float64 numbers in a float32 session.

    !!! example

        ```python
        import jax, sobng as sn

        disk = sn.Disk((0.0, 0.0), 1.0)
        solution = sn.Solution(sn.MLP(2, key=jax.random.key(0)), domain=disk,
                               result=sn.RESULTS.converged, stats={}, history={})
        solution.save("untrained.sobng")
        sn.load("untrained.sobng")(jax.numpy.zeros(2))
        ```
    """
    content = load_tree(path, kind="solution")
    result: Any = getattr(RESULTS, content.pop("result"), RESULTS.successful)
    return Solution(content.pop("field"), result=result, **content)


def _name(result: RESULTS) -> str:
    """The name of a member of `RESULTS`."""
    for name, member in RESULTS._name_to_item.items():
        if bool(member == result):
            return name
    return "successful"
