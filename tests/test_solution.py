"""The solution: a function of points of any leading shape, saved and loaded."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sobng.calculus import directional, laplacian
from sobng.exact import Component
from sobng.fields.components import Components
from sobng.fields.constrained import Constrained
from sobng.fields.fourier import FourierFeatures
from sobng.fields.lift import BoxLift
from sobng.fields.mlp import MLP
from sobng.fields.partition import partition
from sobng.fields.periodic import PeriodicEmbedding
from sobng.fields.polynomial import PolynomialLift
from sobng.fields.residual import ResidualNetwork
from sobng.fields.separable import Separable
from sobng.fields.siren import SIREN
from sobng.fields.sum import Sum
from sobng.geometry.ball import Disk
from sobng.geometry.box import Box, Interval
from sobng.geometry.polygon import Polygon
from sobng.io.exported import Exported
from sobng.results import RESULTS
from sobng.solution import load, Solution


SQUARE = Box((0.0, 0.0), (1.0, 1.0))
KEY = jr.key(0)


class Mine(eqx.Module):
    """What a user writes."""

    matrix: jax.Array

    def __call__(self, x):
        return jnp.sum(jnp.sin(self.matrix @ x)) ** 2


def wall(x):
    return jnp.sin(x[0]) * x[1]


def mine(dim=2):
    return Mine(jr.normal(KEY, (5, dim)))


def solution(field, domain=SQUARE, **changes):
    facts = {
        "result": RESULTS.converged,
        "stats": {"num_steps": 7, "seconds": 1.5, "stages": ("a", "b"), "loss": None},
        "history": {"step": [1, 2], "loss": [1.0, np.nan], "stage": ["a", "b"]},
        "error": 2e-11,
    }
    return Solution(field, domain=domain, **(facts | changes))


def lifted(value):
    faces = {(0, 0): Component(value, None), (1, 1): value, (0, 1): 2.0}
    return BoxLift((0.0, 0.0), (1.0, 1.0), faces)


OURS = {
    "mlp": lambda: MLP(2, depth=2, width=8, domain=SQUARE, key=KEY),
    "vector": lambda: MLP(2, out=3, width=8, activation=jax.nn.gelu, key=KEY),
    "siren": lambda: SIREN(2, width=8, key=KEY),
    "fourier": lambda: FourierFeatures(2, num=4, width=8, key=KEY),
    "residual": lambda: ResidualNetwork(2, width=8, key=KEY),
    "separable": lambda: Separable(2, width=8, rank=4, key=KEY),
    "periodic": lambda: PeriodicEmbedding(MLP(3, width=8, key=KEY), {1: 2.0}),
    "sum": lambda: Sum((MLP(2, width=8, key=KEY), SIREN(2, width=8, key=KEY))),
    "factor": lambda: Constrained(
        MLP(2, width=8, key=KEY), None, SQUARE.boundary.factor, ("wall",)
    ),
    "polynomial": lambda: Constrained(
        MLP(2, width=8, key=KEY),
        PolynomialLift([(Disk((0.0, 0.0), 1.0).boundary, wall)], degree=4),
        Polygon(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))).part("edge_0").factor,
    ),
    "single precision": lambda: MLP(2, width=8, dtype=jnp.float32, key=KEY),
}
# What comes back with `Exported` parts, and how many.
THEIRS = {
    "a module": (mine, 1),
    "a module in ours": (lambda: Sum((MLP(2, width=8, key=KEY), _sized())), 1),
    "a function": (lambda: wall, 1),
    "data in a lift": (
        lambda: Constrained(MLP(2, width=8, key=KEY), lifted(wall), _one),
        3,
    ),
    "components": (
        lambda: Constrained(
            MLP(2, out=2, width=8, key=KEY),
            Components([wall, 0.0]),
            Components([1.0, SQUARE.boundary.factor]),
        ),
        1,
    ),
    "an activation": (lambda: MLP(2, width=8, activation=lambda z: z**3, key=KEY), 1),
    "inside an embedding": (lambda: PeriodicEmbedding(mine(3), {1: 2.0}, dim=2), 1),
}


class Sized(eqx.Module):
    inner: Mine
    dim: int = 2
    out: None = None

    def __call__(self, x):
        return self.inner(x)


def _sized():
    return Sized(mine())


def _one(x):
    return x[0]


def exported_parts(tree):
    is_exported = lambda node: isinstance(node, Exported)
    leaves = jax.tree.leaves(tree, is_leaf=is_exported)
    return [leaf for leaf in leaves if is_exported(leaf)]


def reloaded(field, tmp_path, **changes):
    solution(field, **changes).save(tmp_path / "saved.sobng")
    return load(tmp_path / "saved.sobng")


@pytest.mark.parametrize("make", OURS.values(), ids=list(OURS))
def test_our_fields_come_back_by_name_bit_for_bit(make, tmp_path):
    field = make()
    found = reloaded(field, tmp_path)
    assert not exported_parts(found)
    # The same configuration too: the structure compares classes, functions and all.
    assert eqx.tree_equal(found.field, field)


@pytest.mark.parametrize("make, num", THEIRS.values(), ids=list(THEIRS))
def test_what_is_not_ours_comes_back_as_a_function(make, num, tmp_path, monkeypatch):
    monkeypatch.setattr("sobng.io.exported.ORDER", 0)  # derivatives take time
    field = make()
    found = reloaded(field, tmp_path)
    assert len(exported_parts(found)) == num
    points = jr.uniform(KEY, (5, 3, 2))
    assert jnp.array_equal(found(points), solution(field)(points))
    one = points[0, 0]
    # Another program, the same formulas: rounding.
    assert jnp.allclose(found.field(one), field(one), rtol=1e-12)


@pytest.mark.parametrize(
    "order", ["forward", "reverse", "mixed", "laplacian", "fourth"]
)
def test_derivatives_of_an_exported_function_survive(order, tmp_path):
    field = mine()
    found = reloaded(field, tmp_path).field
    operator = {
        "forward": jax.jacfwd,
        "reverse": jax.grad,
        "mixed": lambda u: jax.jacrev(jax.jacfwd(u)),
        "laplacian": laplacian,
        "fourth": lambda u: directional(u, jnp.array([1.0, 2.0]), order=4),
    }[order]
    points = jr.uniform(KEY, (1, 4, 2))
    twice = lambda u: jax.jit(jax.vmap(jax.vmap(operator(u))))
    wanted = twice(field)(points)
    # Rounding of another order of the sums.
    assert jnp.allclose(twice(found)(points), wanted, rtol=1e-10)
    assert jnp.allclose(operator(found)(points[0, 0]), wanted[0, 0], rtol=1e-10)


def test_an_exported_function_has_no_derivatives_beyond(tmp_path):
    found = reloaded(mine(), tmp_path).field
    with pytest.raises(ValueError, match="4"):
        directional(found, jnp.ones(2), order=5)(jnp.ones(2))


def test_exported_functions_are_not_trained_and_can_be_saved_again(tmp_path):
    once = reloaded(mine(), tmp_path).field
    again = reloaded(once, tmp_path).field
    assert jax.tree.leaves(partition(once)[0]) == []
    assert eqx.tree_equal(once, again)


def test_several_sets_of_arrays_map_over_an_exported_function(tmp_path):
    found = reloaded(mine(), tmp_path).field
    pair = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), found)
    x = jnp.array([0.3, 0.4])
    values = eqx.filter_vmap(lambda f: f(x))(pair)
    double = Mine(2 * mine().matrix)
    assert jnp.allclose(values, jnp.stack([mine()(x), double(x)]))


def test_facts_and_domain_come_back(tmp_path):
    cylinder = Interval(0.0, 1.0) * Disk((0.0, 0.0), 2.0)
    before = solution(MLP(3, width=4, key=KEY), cylinder, result=RESULTS.interrupted)
    before.save(tmp_path / "saved.sobng")
    found = load(tmp_path / "saved.sobng")
    assert found.domain == cylinder and found.problem is None
    assert found.stats == before.stats and found.error == before.error
    assert bool(found.result == RESULTS.interrupted)
    for name, column in before.history.items():
        assert np.array_equal(found.history[name], column, equal_nan=name != "stage")


@pytest.mark.parametrize("shape", [(2,), (0, 2), (1, 2), (4, 3, 2)])
def test_a_solution_takes_points_of_any_leading_shape(shape):
    points = jr.uniform(KEY, shape)
    scalar, vector = MLP(2, width=4, key=KEY), MLP(2, out=3, width=4, key=KEY)
    assert solution(scalar)(points).shape == shape[:-1]
    assert solution(vector)(points).shape == (*shape[:-1], 3)


def test_a_dict_gives_a_dict_and_arrays_as_they_are():
    unknown = {"u": MLP(2, width=4, key=KEY), "k": jnp.arange(3.0)}
    found = solution(unknown)(np.ones((5, 2)))
    assert found["u"].shape == (5,) and jnp.array_equal(found["k"], jnp.arange(3.0))


def test_a_solution_is_differentiable_under_jit_and_map():
    found = solution(mine())
    x = jnp.array([0.2, 0.7])
    slope = jax.grad(mine())(x)
    assert jnp.allclose(jax.grad(found)(x), slope)
    assert jnp.allclose(jax.vmap(jax.grad(found))(x[None])[0], slope)
    assert jnp.allclose(eqx.filter_jit(lambda s, x: s(x))(found, x), mine()(x))
    gradient = eqx.filter_grad(lambda s: s(x))(found)
    assert jnp.any(gradient.field.matrix != 0)


def test_points_are_taken_in_the_precision_of_the_field():
    found = solution(MLP(2, width=4, dtype=jnp.float32, key=KEY))
    assert found([[1, 2]]).dtype == jnp.float32


@pytest.mark.parametrize("points", [1.0, jnp.ones(3), jnp.ones((2, 1))])
def test_points_of_a_wrong_dimension_are_refused(points):
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        solution(mine())(points)


def test_the_text_of_a_solution_says_how_it_went():
    text = repr(solution(mine()))
    assert text.startswith("Solution(error=2.0e-11, steps=7, seconds=1.5, result='No ")
    assert "not estimated" in repr(solution(mine(), error=None))


def test_the_program_of_another_precision_is_refused(tmp_path):
    solution(mine()).save(tmp_path / "saved.sobng")
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match="enable_x64"):
            load(tmp_path / "saved.sobng")
    finally:
        jax.config.update("jax_enable_x64", True)


def _unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "saved.sobng"


BAD = {
    "a folder that is a file": (
        lambda p: solution(mine()).save(_unwritable(p)),
        "write",
    ),
    "no folder": (lambda p: solution(mine()).save(p / "a" / "b"), "folder"),
    "a folder": (lambda p: solution(mine()).save(p), "write"),
    "not of JAX": (
        lambda p: solution(lambda x: float(x[0])).save(p / "a"),
        "exported as a function",
    ),
    "a matrix": (
        lambda p: solution(lambda x: jnp.outer(x, x)).save(p / "a"),
        r"\(2, 2\)",
    ),
    "unknown dimension": (lambda p: solution(mine(), None).save(p / "a"), "`dim`"),
    "an object": (
        lambda p: solution(mine(), stats={"a": object()}).save(p / "a"),
        "object",
    ),
}


@pytest.mark.parametrize("call, words", BAD.values(), ids=list(BAD))
def test_what_cannot_be_saved_is_a_sentence_and_leaves_nothing(call, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        call(tmp_path)
    left = [p for p in tmp_path.rglob("*") if p.name != "file"]
    assert left == []
