"""One metric for each entry of an unknown."""

from collections.abc import Mapping

from sobng.metrics.gram import measured, Total
from sobng.metrics.metric import AbstractMetric, identity


class ProductMetric(AbstractMetric):
    """A metric for each entry of a dict unknown; their motions are orthogonal.

    Entries that are not named do not count; the damping of a solver keeps them bounded.

    !!! example

        ```python
        import sobng as sn

        sn.ProductMetric({"u": sn.SobolevMetric(order=1), "k": sn.EuclideanMetric()})
        ```
    """

    metrics: dict[str, AbstractMetric]

    def __init__(self, metrics: Mapping[str, AbstractMetric]):
        """**Arguments:**

        - `metrics`: from names of entries (fields or coefficients) to metrics.

        **Raises:** `ValueError` if it is empty or holds something else.
        """
        wrong = [m for m in metrics.values() if not isinstance(m, AbstractMetric)]
        if not metrics or wrong:
            raise ValueError(
                "`ProductMetric` needs a dict from names to metrics. "
                f"Got {dict(metrics)!r}."
            )
        self.metrics = dict(metrics)

    def on(self, system, entry=None):
        if entry is not None:
            raise ValueError(
                f"A `ProductMetric` names entries itself. Got one for '{entry}'."
            )
        grams = []
        for name, metric in self.metrics.items():
            measured(system.unknown(system.params), name)  # is there one?
            gram = metric.on(system, name)
            grams.append(identity(system, name) if gram is None else gram)
        return Total(tuple(grams), (1.0,) * len(grams))
