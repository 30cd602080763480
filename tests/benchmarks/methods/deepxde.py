"""DeepXDE on PyTorch: Adam, then L-BFGS, as its examples train."""

import os

import numpy as np


os.environ["DDE_BACKEND"] = "pytorch"


def adam_lbfgs(race):
    import deepxde as dde
    import torch

    torch.set_num_threads(1)
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(race.seed)
    statement = race.statement
    axes = range(statement.dim)
    columns = lambda x: [x[:, i : i + 1] for i in axes]

    def equation(x, u):
        du = [dde.grad.jacobian(u, x, j=i) for i in axes]
        ddu = [dde.grad.hessian(u, x, i=i, j=i) for i in axes]
        return statement.equation(torch, columns(x), u, du, ddu)

    inside, on = statement.training(race.seed)
    box = dde.geometry.Hypercube(statement.lower, statement.upper)
    network = dde.nn.FNN(list(statement.layers), "tanh", "Glorot normal")
    conditions = []
    if statement.factor is None:
        values = statement.data(np, on.T)[:, None]
        conditions = [dde.icbc.PointSetBC(on, values)]
    else:
        network.apply_output_transform(
            lambda x, u: statement.factor(torch, columns(x)) * u
        )
    data = dde.data.PDE(box, equation, conditions, anchors=inside)
    model = dde.Model(data, network)
    race.params = sum(p.numel() for p in network.parameters())
    race.points = len(inside) + (len(on) if conditions else 0)

    class Watch(dde.callbacks.Callback):
        """Looks after every step, and ends the first phase in time."""

        def __init__(self, until):
            super().__init__()
            self.until = until

        def on_epoch_end(self):
            left = race.look(model.predict)
            self.model.stop_training = not left or race.elapsed() >= self.until

    quiet = {"display_every": 10**9, "verbose": 0}
    model.compile("adam", lr=1e-3, verbose=0)
    race.start()
    watch = Watch(0.4 * race.seconds)
    model.train(iterations=10**9, callbacks=[watch], **quiet)
    dde.optimizers.set_LBFGS_options(maxcor=100, ftol=0, gtol=0, maxiter=10**9)
    # Otherwise a thousand iterations pass between two callbacks.
    dde.optimizers.LBFGS_options["iter_per_step"] = 5
    model.compile("L-BFGS", verbose=0)
    model.train(callbacks=[Watch(race.seconds)], **quiet)
