"""The natural gradient of jinns, in one call of `jinns.solve` as its pages advise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from plain import jet


LOOK_EVERY = 5


def ngd(race):
    import jinns
    from jinns.data import CubicMeshPDEStatio, DataGeneratorObservations
    from jinns.loss import LossPDEStatio, LossWeightsPDEStatio, PDEStatio
    from jinns.parameters import Params
    from jinns.validation import AbstractValidationModule

    statement = race.statement
    inside, on = statement.training(race.seed)
    key = jr.PRNGKey(race.seed)
    layers = []
    for m, n in zip(statement.layers[:-1], statement.layers[1:], strict=True):
        layers += [(eqx.nn.Linear, m, n), (jax.nn.tanh,)]

    def exactly(x, network, params):
        return statement.factor(jnp, x) * network

    network, start = jinns.nn.PINN_MLP.create(
        key=key,
        eqx_list=tuple(layers[:-1]),
        eq_type="PDEStatio",
        output_transform=None if statement.factor is None else exactly,
    )
    params = Params(nn_params=start, eq_params={})

    class Equation(PDEStatio):
        def equation(self, x, u, params):
            value = jet(lambda y: u(y, params)[0], x)
            return statement.equation(jnp, x, *value)[None]

    bounds = {"min_pts": statement.lower, "max_pts": statement.upper}
    data = CubicMeshPDEStatio(
        key=key, n=len(inside), dim=statement.dim, method="sobol", **bounds
    )
    observations = None
    if statement.factor is None:
        values = statement.data(np, on.T)[:, None]
        observations = DataGeneratorObservations(
            key=key,
            observed_pinn_in=jnp.asarray(on),
            observed_values=jnp.asarray(values),
        )
    weights = {"dyn_loss": 1.0} | ({"observations": 1.0} if observations else {})
    loss = LossPDEStatio(
        u=network,
        dynamic_loss=Equation(),
        params=params,
        loss_weights=LossWeightsPDEStatio(**weights),
    )
    race.params = sum(leaf.size for leaf in jax.tree.leaves(params))
    race.points = len(inside) + (0 if observations is None else len(on))

    def seen(*arrays):
        """The race's look; in NumPy, since JAX waits for it."""

        def values_at(points):
            x = points.T
            for weight, bias in zip(arrays[::2], arrays[1::2], strict=True):
                last = weight.shape[0] == 1
                x = np.asarray(weight) @ x + np.asarray(bias)[:, None]
                x = x if last else np.tanh(x)
            factor = statement.factor
            return x[0] if factor is None else factor(np, points.T) * x[0]

        if not race.started:
            race.start()
        return np.asarray(not race.look(values_at))

    class Watch(AbstractValidationModule):
        call_every: int = LOOK_EVERY

        def __call__(self, params):
            stop = jax.ShapeDtypeStruct((), bool)
            leaves = jax.tree.leaves(params.nn_params)
            over = jax.experimental.io_callback(seen, stop, *leaves, ordered=True)
            return self, over, jnp.zeros(()), jnp.asarray(False)

    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
    jinns.solve(
        n_iter=10**6,
        init_params=params,
        data=data,
        loss=loss,
        optimizer=jinns.optimizers.vanilla_ngd(linesearch=search),
        obs_data=observations,
        validation=Watch(),
        verbose=False,
    )
