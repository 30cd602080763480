"""The optimisers of Scimba, on its own domains, samplers, networks and losses."""

import jax
import jax.numpy as jnp
import jax.random as jr
from plain import jet


CHUNK = 20
"""Steps between two looks: as many as Scimba compiles into one call."""


def _project(race, optimiser, resample):
    from scimba_jax.domains.meshless_domains.domains_1d import Segment1D
    from scimba_jax.domains.meshless_domains.domains_nd import HypercubeND
    from scimba_jax.nonlinear_approximation.approximation_spaces.approximation_spaces import (
        ApproximationSpace,
    )
    from scimba_jax.nonlinear_approximation.integration.monte_carlo import (
        DomainSampler,
        TensorizedSampler,
    )
    from scimba_jax.nonlinear_approximation.integration.monte_carlo_time import (
        UniformTimeSampler,
    )
    from scimba_jax.nonlinear_approximation.model_class.funcparam_scalar import (
        ParamScalarFunction,
    )
    from scimba_jax.nonlinear_approximation.networks.mlp import MLP
    from scimba_jax.nonlinear_approximation.numerical_solvers.projectors import (
        Projector,
    )
    from scimba_jax.physical_models.abstract_physical_model import AbstractPhysicalModel
    from scimba_jax.physical_models.abstract_residuals import InteriorResidual
    from scimba_jax.physical_models.boundary_residuals import DirichletResidual
    from scimba_jax.physical_models.initial_residuals import ProjectionResidual

    statement = race.statement
    # A final face without data: time is a variable of its own to Scimba.
    moves = len(statement.faces) < 2 * statement.dim
    kind = "t_x" if moves else "x"
    bounds = list(zip(statement.lower, statement.upper, strict=True))
    times = bounds[0] if moves else None
    if moves:
        domain = Segment1D(bounds[1], is_main_domain=True)
    else:
        domain = HypercubeND(bounds, is_main_domain=True)
    split = (lambda p: (p[:1], p[1:])) if moves else (lambda p: (p,))

    class Equation(InteriorResidual):
        def construct_residual(self, *variables):
            (u,) = variables

            def left(space, *parts):
                point = jnp.concatenate(parts)
                value = jet(lambda p: u(space, *split(p))[0], point)
                return statement.equation(jnp, point, *value)[None]

            return ParamScalarFunction(u.dims, left, u.f_type)

    def data(*parts):
        # The normal, which comes last on walls, is not a coordinate.
        return statement.data(jnp, jnp.concatenate(parts)[: statement.dim])[None]

    class Model(AbstractPhysicalModel):
        def __init__(self):
            super().__init__(main_domain=domain, time_domain=times)
            shared = {"model_type": kind, "time_domain": times}
            self.physical_residuals = {
                domain.get_label(): Equation(domain=domain, **shared)
            }
            if statement.factor is None:
                self.add_on_every_boundary(DirichletResidual, f_rhs=data, **shared)
            if moves:
                self.add_initial_condition(
                    ProjectionResidual,
                    model_type=kind,
                    f_rhs=lambda x: data(jnp.zeros(1), x),
                )

    def processed(value, *parts):
        if statement.factor is None:
            return value
        return statement.factor(jnp, jnp.concatenate(parts)) * value

    network = MLP(statement.dim, 1, statement.layers[1:-1], key=jr.PRNGKey(race.seed))
    space = ApproximationSpace(
        {"x": statement.dim - moves},
        [(network, "scalar", None)],
        kind,
        post_processing=processed,
    )
    samplers = [UniformTimeSampler(times)] if moves else []
    sampler = TensorizedSampler([*samplers, DomainSampler(domain)], model_type=kind)
    projector = Projector(Model(), space, sampler, optimizer=optimiser)

    inside, outside = statement.points
    starts = outside // 3 if moves else 0
    race.params = space.ndof
    race.points = inside + (outside if statement.factor is None else 0)

    def step(state):
        key, projector = state
        counts = CHUNK, inside, outside - starts, starts
        after, projector = projector.project(
            key, projector.space, *counts, verbose=True, resample=resample
        )
        # The same key would be the same points, which is what others ask for.
        return (after if resample else key), projector

    @jax.jit
    def values(space, points):
        (u,) = space.create_variables()
        return jax.vmap(lambda p: u(space, *split(p)))(points)

    def shown(points):
        return values(state[1].space, points)

    state = jr.PRNGKey(race.seed), projector
    step(step(state))
    shown(statement.evaluation())
    race.start()
    while race.look(shown):
        state = step(state)


def eng(race):
    _project(race, "ENG", resample=True)


def anagram(race):
    _project(race, "ANaGRAM", resample=True)


def dsgnar(race):
    _project(race, "DSGNAR", resample=False)


def ss_broyden(race):
    _project(race, "SS-Broyden", resample=False)
