"""The metric of parameter space."""

from sobng.metrics.metric import AbstractMetric, identity


class EuclideanMetric(AbstractMetric):
    r"""The Euclidean metric of the parameters, $G = I$.

    As damping it gives Levenberg-Marquardt; as preconditioner, gradient descent. Needs
    no points, so it is the one metric that works with an unbound solver.

    !!! example

        ```python
        import sobng as sn

        sn.GaussNewton(metric=sn.EuclideanMetric())
        ```
    """

    def on(self, system, entry=None):
        return None if entry is None else identity(system, entry)
