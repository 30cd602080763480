"""Ready-made sequences of stages."""

from sobng.stages.all_parameters import AllParameters
from sobng.stages.correction import Correction
from sobng.stages.last_layer import LastLayer
from sobng.stages.more_features import MoreFeatures
from sobng.stages.network import Network
from sobng.stages.stage import AbstractStage


MORE = (2.4, 8.0)
"""Features beyond three dimensions, in units of those of the first stage.
The last one has 12,000 and takes minutes and 5 GB."""


def default_stages() -> tuple[AbstractStage, ...]:
    """The last layer first, where that can work; then, if need be, a correction, and all
    parameters. Beyond three dimensions a small network, then more and more features."""
    more = (Network(), *map(MoreFeatures, MORE))
    return (LastLayer(), Correction(), *more, AllParameters())


def strategy(name: str) -> tuple[AbstractStage, ...]:
    """A strategy by the name that the command line gives it.

    **Arguments:**

    - `name`: "default" or "all-parameters".

    **Raises:** `ValueError` for another name.

    !!! example

        ```python
        import sobng as sn

        sn.strategy("all-parameters")
        ```
    """
    strategies = {"default": default_stages(), "all-parameters": (AllParameters(),)}
    if name not in strategies:
        raise ValueError(f"A strategy is one of {sorted(strategies)}. Got {name!r}.")
    return strategies[name]
