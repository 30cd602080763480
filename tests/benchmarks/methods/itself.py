"""sobng on a statement, said as a user would; nothing is chosen but what is named."""

import time

import jax
import jax.numpy as jnp
import jax.random as jr

import sobng as sn
import sobng.turn
from sobng.clock import Clock


def problem_of(statement):
    """The statement in sobng's words."""
    box = sn.Box(statement.lower, statement.upper)

    def equation(u, x, args):
        axes = range(statement.dim)
        du = sn.gradient(u)(x)
        ddu = [sn.partial(u, i, i)(x) for i in axes]
        return statement.equation(jnp, x, u(x), du, ddu)

    def data(x):
        return statement.data(jnp, x)

    if statement.factor is not None:
        walls = [sn.Dirichlet(box.boundary, 0.0, exact=True, name="walls")]
    else:
        walls = [
            sn.Dirichlet(
                box.face(axis, side), data, exact=False, name=f"face {axis}-{side}"
            )
            for axis, side in statement.faces
        ]
    return sn.Problem(sn.Condition(equation, box.interior, name="equation"), *walls)


class Watch:
    """The latest field, and the seconds that sobng computed but did not compile.

    JAX reports the compilation in wall seconds, of which this process got a share.
    """

    def __init__(self, race):
        self.race = race
        self.field = None
        self.values = jax.jit(lambda u, points: jax.vmap(u)(points))
        self.elsewhere = 0.0
        self.clock = Clock().start()
        self.began = time.perf_counter(), time.process_time()
        race.start()

    def compiled(self):
        wall, cpu = self.began
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        return share * (self.clock.compile_seconds - self.elsewhere)

    def look(self, field, **options):
        seconds = self.race.elapsed() - self.compiled()
        before = self.clock.compile_seconds
        left = self.race.look(
            lambda points: self.values(field, points), seconds=seconds, **options
        )
        self.elsewhere += self.clock.compile_seconds - before
        return left

    def __call__(self, record):
        if not self.look(self.field):
            raise KeyboardInterrupt  # as a user would: the best field is kept


def _solve(race, field=None, **options):
    run_steps = sobng.turn.run_steps
    watch = Watch(race)

    # A callback is told how a run goes, but not shown the field.
    def shown(solver, system, params, *rest):
        result = run_steps(solver, system, params, *rest)
        watch.field = system.unknown(result[0])
        return result

    sobng.turn.run_steps = shown
    key = jr.key(race.seed)
    problem = problem_of(race.statement)
    solution = sn.solve(problem, field, key=key, callbacks=[watch], **options)
    watch.look(solution.field, last=True)
    race.params, race.points = solution.stats["params"], solution.stats["rows"]
    race.compile_seconds = watch.compiled()


def defaults(race):
    _solve(race)


def alone(race):
    statement = race.statement
    width, depth = statement.layers[1], len(statement.layers) - 2
    key = jr.key(race.seed)
    field = sn.MLP(statement.dim, width=width, depth=depth, key=key)
    stages = sn.strategy("all-parameters")
    _solve(race, field, stages=stages, collocation=statement.points[0])
