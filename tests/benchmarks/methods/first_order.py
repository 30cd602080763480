"""First-order training and L-BFGS, in the few lines that users write themselves."""

import jax
import optax
from plain import Plain, run


def _adam():
    return optax.adam(optax.exponential_decay(1e-3, 2000, 0.9))


def _stepper(plain, optimiser, num, gradient_of):
    """`num` steps at once, so that Python is not what takes the time."""

    def one(state, _):
        y, inner = state
        value, slope = gradient_of(y, inner)
        update, inner = optimiser.update(
            slope, inner, y, value=value, grad=slope, value_fn=plain.loss
        )
        return (optax.apply_updates(y, update), inner), None

    return jax.jit(lambda state: jax.lax.scan(one, state, length=num)[0])


def _adam_stepper(plain, optimiser):
    gradient = jax.value_and_grad(plain.loss)
    return _stepper(plain, optimiser, 20, lambda y, _: gradient(y))


def adam(race):
    plain = Plain(race)
    optimiser = optax.with_extra_args_support(_adam())
    state = plain.start, optimiser.init(plain.start)
    run(race, plain, _adam_stepper(plain, optimiser), state, lambda state: state[0])


def adam_lbfgs(race):
    plain = Plain(race)
    first = optax.with_extra_args_support(_adam())
    second = optax.lbfgs(memory_size=50)
    # A line search has been at the point that it chose: its gradient is in the state.
    known = optax.value_and_grad_from_state(plain.loss)
    warm = _adam_stepper(plain, first)
    polish = _stepper(plain, second, 2, lambda y, inner: known(y, state=inner))
    start = plain.start, first.init(plain.start)
    jax.block_until_ready(
        (warm(start), polish((plain.start, second.init(plain.start))))
    )

    def step(state):
        y, inner = state
        if isinstance(inner[0], optax.ScaleByAdamState):
            if race.elapsed() < race.seconds / 5:
                return warm(state)
            state = y, second.init(y)
        return polish(state)

    run(race, plain, step, start, lambda state: state[0])
