"""Conditions that hold exactly: wrappers, lifts, components."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sobng as sn
from sobng import calculus, fields


LOWER, UPPER = (0.1, -1.0, 2.0), (0.7, 2.0, 2.5)


def data(x):
    return jnp.sin(2 * x[0]) * jnp.cos(x[1]) + jnp.exp(x[-1])


def only_on_faces(dim):
    """The data, but NaN off the boundary of the box."""
    lower, upper = jnp.array(LOWER[:dim]), jnp.array(UPPER[:dim])
    on_boundary = lambda x: jnp.any((x == lower) | (x == upper))
    return lambda x: jnp.where(on_boundary(x), data(x), jnp.nan)


def face_points(key, dim, axis, side, num=5):
    lower, upper = jnp.array(LOWER[:dim]), jnp.array(UPPER[:dim])
    points = jr.uniform(key, (num, dim), minval=lower, maxval=upper)
    return points.at[:, axis].set((lower, upper)[side][axis])


def all_faces(dim):
    return list(itertools.product(range(dim), (0, 1)))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_box_lift_evaluates_data_only_on_faces_and_is_exact_there(dim, getkey):
    faces = dict.fromkeys(all_faces(dim), only_on_faces(dim))
    lift = fields.BoxLift(LOWER[:dim], UPPER[:dim], faces)
    evaluate = jax.jit(jax.vmap(lift))
    for axis, side in faces:
        points = face_points(getkey(), dim, axis, side)
        values = evaluate(points)
        assert jnp.allclose(values, jax.vmap(data)(points), rtol=1e-13, atol=1e-13)
    inside = (jnp.array(LOWER[:dim]) + jnp.array(UPPER[:dim])) / 2
    assert jnp.isfinite(jax.jit(calculus.laplacian(lift))(inside))
    assert lift.defect < 1e-12


@pytest.mark.parametrize("missing", all_faces(2))
def test_a_box_lift_serves_boxes_with_a_free_face(missing, getkey):
    # As in space-time: initial and lateral data, and nothing at the final time.
    faces = {face: None if face == missing else data for face in all_faces(2)}
    lift = fields.BoxLift(LOWER[:2], UPPER[:2], faces)
    evaluate = jax.jit(jax.vmap(lift))
    for axis, side in set(faces) - {missing}:
        points = face_points(getkey(), 2, axis, side)
        values = evaluate(points)
        assert jnp.allclose(values, jax.vmap(data)(points), rtol=1e-13, atol=1e-13)


def test_zero_faces_are_exact_and_cost_nothing(getkey):
    dim = 10
    lower, upper = (0.0,) * dim, (1.0,) * dim
    faces = dict.fromkeys(all_faces(dim), 0.0)
    bump = lambda x: jnp.prod(jnp.sin(jnp.pi * x[1:]))
    lift = fields.BoxLift(lower, upper, {**faces, (0, 1): bump})
    x = jr.uniform(getkey(), (dim,))
    assert jnp.allclose(lift(x.at[0].set(1.0)), bump(x), rtol=1e-13)
    assert jnp.allclose(lift(x.at[4].set(1.0)), 0.0, atol=1e-15)
    assert len(jax.make_jaxpr(fields.BoxLift(lower, upper, faces))(x).eqns) < 10


def test_constant_and_vector_data_are_lifted(getkey):
    value = jnp.array([1.0, 2.0])
    vector = lambda x: jnp.stack([data(x), x[0]])
    lift = fields.BoxLift(LOWER[:2], UPPER[:2], {(0, 0): value, (0, 1): vector})
    left = face_points(getkey(), 2, 0, 0)[0]
    right = face_points(getkey(), 2, 0, 1)[0]
    assert jnp.allclose(lift(left), value)
    assert jnp.allclose(lift(right), vector(right))


def test_the_defect_of_a_box_lift_sees_a_jump_at_a_corner():
    faces = {(0, 0): 0.0, (1, 1): lambda x: 1.0 + 0 * x[0]}
    assert fields.BoxLift((0.0, 0.0), (1.0, 1.0), faces).defect == 1.0


def test_where_faces_disagree_the_last_that_is_not_zero_is_exact():
    faces = {(0, 0): 1.0, (1, 0): 0.0, (1, 1): lambda x: 2.0 + x[0]}
    lift = fields.BoxLift((0.0, 0.0), (1.0, 1.0), faces)
    assert jnp.allclose(lift(jnp.array([0.3, 1.0])), 2.3, rtol=1e-15)
    # The first axis says 1 on its face, and the lower face of the second 0.
    assert lift(jnp.array([0.0, 0.5])) == 1.5
    assert lift(jnp.array([0.3, 0.0])) == 1.0


class Circle:
    """Stands for a region: the unit circle."""

    def quadrature(self, num):
        angle = 2 * np.pi * np.arange(num) / num
        points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return points, np.full(num, 2 * np.pi / num)


def test_a_polynomial_lift_converges_and_knows_its_defect(getkey):
    value = lambda x: jnp.exp(x[0]) * jnp.sin(x[1])
    lifts = [fields.PolynomialLift([(Circle(), value)], degree=k) for k in (4, 8, 14)]
    defects = [lift.defect for lift in lifts]
    assert defects[1] < 1e-2 * defects[0]
    assert defects[2] < 1e-10
    angle = jr.uniform(getkey(), ())
    x = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    assert jnp.allclose(lifts[2](x), value(x), atol=1e-10)


def test_a_polynomial_lift_is_exact_for_polynomial_vector_data(getkey):
    value = lambda x: jnp.stack([x[0] ** 3 - x[1], 2.0 + x[0] * x[1]])
    lift = fields.PolynomialLift([(Circle(), value)], degree=3)
    assert lift.defect < 1e-12
    # x^3 and x y^2 add up to x on the circle, so that only values there are fixed.
    x = jnp.array([0.6, 0.8])
    assert jnp.allclose(lift(x), value(x), atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_constrained_field_takes_its_values_to_rounding(dtype, getkey):
    square = ((0.0, 0.0), (1.0, 1.0))
    wall = lambda x: jnp.sin(3 * x[0]) + x[1] ** 2
    lift = fields.BoxLift(*square, dict.fromkeys(all_faces(2), wall), dtype=dtype)
    factor = lambda x: 16 * x[0] * (1 - x[0]) * x[1] * (1 - x[1])
    inner = fields.MLP(2, key=getkey(), dtype=dtype)
    field = fields.Constrained(inner, lift, factor, satisfies="wall")
    assert field.satisfies == ("wall",)
    for x in jr.uniform(getkey(), (5, 2), dtype):
        for axis, side in all_faces(2):
            on_face = x.at[axis].set(side)
            gap = jnp.abs(field(on_face) - wall(on_face))
            assert gap.dtype == dtype
            assert gap < 8 * jnp.finfo(dtype).eps
        assert jnp.allclose(field(x), lift(x) + factor(x) * inner(x))


def test_components_may_stay_free(getkey):
    inner = fields.MLP(2, out=2, key=getkey())
    factor = fields.Components([lambda x: x[0], 1.0])
    lift = fields.Components([2.0, 0.0])
    field = fields.Constrained(inner, lift, factor, satisfies=("left",))
    x = jnp.array([0.0, 0.4])
    assert jnp.allclose(field(x), jnp.stack([jnp.array(2.0), inner(x)[1]]))


def test_neither_factor_nor_lift_is_trained(getkey):
    scale = jnp.ones(())
    lift = fields.Components([scale])
    inner = fields.MLP(2, out=1, key=getkey())
    field = fields.Constrained(inner, lift, lambda x: x[0])
    params, _ = fields.partition(field)
    assert len(jax.tree.leaves(params)) == len(jax.tree.leaves(inner))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fields.BoxLift((0.0,), (1.0,), {(1, 0): 0.0}), "axes from 0 to 0"),
        (
            lambda: fields.BoxLift(
                (0.0,) * 7, (1.0,) * 7, dict.fromkeys(all_faces(7), data)
            ),
            "Use `PolynomialLift`",
        ),
        (lambda: fields.PolynomialLift([]), "region and a value"),
        (lambda: fields.PolynomialLift([(Circle(), 1.0)], degree=-1), "at least zero"),
        (lambda: fields.PolynomialLift([(Circle(), 1.0)], degree=99), "Lower `degree`"),
        (lambda: fields.Components([]), "at least one component"),
        (
            lambda: fields.Constrained(
                fields.MLP(2, out=2, key=jr.key(0)), None, lambda x: jnp.ones(3)
            )(jnp.zeros(2)),
            "one for each component",
        ),
    ],
)
def test_wrong_data_are_refused_with_advice(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


DISK = sn.Disk((0.0, 0.0), 1.0)
DOMAINS = {
    "box": sn.Box((0.0, -1.0), (2.0, 1.0)),
    "disk": DISK,
    "polygon": sn.Polygon([(0.0, 0.0), (2.0, 0.0), (1.0, 1.0)]),
    "polygon with a re-entrant corner": sn.Polygon(
        [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0)]
    ),
    "disk with a hole": DISK - sn.Disk((0.2, 0.0), 0.3),
}


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("insists", [False, True])
def test_data_hold_exactly_on_every_domain(name, insists, getkey):
    domain = DOMAINS[name]
    polynomial = lambda x: x[0] ** 2 - 3 * x[0] * x[1] + 1
    smooth = lambda x: jnp.exp(0.5 * x[0]) * jnp.sin(x[1])
    data = smooth if insists else polynomial
    wall = sn.Dirichlet(domain.boundary, data, exact=True if insists else None)
    equation = sn.Condition(
        lambda u, x, args: sn.laplacian(u)(x), domain.interior, name="equation"
    )
    field = sn.impose(sn.Problem(equation, wall), sn.MLP(2, key=getkey()))
    assert field.satisfies == ("dirichlet on boundary",)
    x, _ = domain.boundary.sample(50, key=getkey())
    assert jnp.allclose(jax.vmap(field)(x), jax.vmap(data)(x), rtol=0, atol=1e-11)


def equation_on(domain):
    return sn.Condition(
        lambda u, x, args: sn.laplacian(u)(x), domain.interior, name="equation"
    )


def test_a_value_on_a_part_of_another_domain_is_a_penalty(getkey):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    electrode = sn.Box((0.2, 0.0), (0.8, 1.0)).part("bottom")
    problem = sn.Problem(equation_on(square), sn.Dirichlet(electrode, 1.0))
    field = sn.impose(problem, sn.MLP(2, width=4, key=getkey()))
    assert getattr(field, "satisfies", ()) == ()


def test_components_may_be_counted_from_the_back(getkey):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    wall = sn.Dirichlet(square.boundary, jnp.array([1.0, 2.0]), component=(0, -1))
    problem = sn.Problem(equation_on(square), wall)
    field = sn.impose(problem, sn.MLP(2, out=2, width=4, key=getkey()))
    assert jnp.allclose(field(jnp.array([0.0, 0.3])), jnp.array([1.0, 2.0]))


def test_a_value_that_is_given_twice_leaves_the_slope_free(getkey):
    square = sn.Box((0.0, 0.0), (1.0, 1.0))
    walls = sn.Dirichlet(square.boundary, 0.0)
    top = sn.Dirichlet(square.part("top"), 0.0)
    problem = sn.Problem(equation_on(square), walls, top)
    field = sn.impose(problem, sn.MLP(2, width=4, key=getkey()))
    once = sn.impose(
        sn.Problem(equation_on(square), walls), sn.MLP(2, width=4, key=getkey())
    )
    point = jnp.array([0.5, 1.0])
    assert field.factor is not None and once.factor is not None
    assert jax.grad(field.factor)(point)[1] == jax.grad(once.factor)(point)[1] != 0


def test_rough_data_cannot_be_insisted_upon(getkey):
    wall = sn.Dirichlet(DISK.boundary, lambda x: jnp.abs(x[1]), exact=True)
    equation = sn.Condition(
        lambda u, x, args: sn.laplacian(u)(x), DISK.interior, name="equation"
    )
    with pytest.raises(ValueError, match="no smooth extension"):
        sn.impose(sn.Problem(equation, wall), sn.MLP(2, key=getkey()))
