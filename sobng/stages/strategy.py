"""Ready-made sequences of stages."""

from sobng.stages.all_parameters import AllParameters
from sobng.stages.attempt import Attempt
from sobng.stages.correction import Correction
from sobng.stages.fronts import Fronts
from sobng.stages.last_layer import LastLayer
from sobng.stages.layers import Layers
from sobng.stages.more_features import MoreFeatures
from sobng.stages.network import Network
from sobng.stages.slabs import Slabs
from sobng.stages.stage import AbstractStage
from sobng.stages.waves import Waves
from sobng.stages.wider import Wider


def default_stages() -> tuple[AbstractStage, ...]:
    """The last layer first, where that can work; then, if need be, a small network beyond
    three dimensions, more features, layers at the walls, a correction, still more
    features, a deep network for fronts in space and time and features in slabs of time
    that follow it, and all parameters."""
    return (
        LastLayer(),
        Network(),
        MoreFeatures(2),
        Layers(),
        MoreFeatures(2),
        Correction(),
        MoreFeatures(9),
        Fronts(),
        Slabs(),
        AllParameters(),
    )


def network_stages() -> tuple[AbstractStage, ...]:
    """All parameters of an ordinary network from the start. Where sobng chose it, and its
    loss falls slowly, one of sines has its turn; then the better one grows."""
    return (Attempt(), Waves(), Wider(), Wider(), AllParameters())


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
    strategies = {"default": default_stages(), "all-parameters": network_stages()}
    if name not in strategies:
        raise ValueError(f"A strategy is one of {sorted(strategies)}. Got {name!r}.")
    return strategies[name]
