"""Ready-made sequences of stages."""

from sobng.stages.all_parameters import AllParameters
from sobng.stages.correction import Correction
from sobng.stages.growth import Growth
from sobng.stages.last_layer import LastLayer
from sobng.stages.layers import Layers
from sobng.stages.stage import AbstractStage


def default_stages() -> tuple[AbstractStage, ...]:
    """The last layer first, where that can work; then, if need be, more features,
    layers at the walls, more features there, a correction, and all parameters."""
    return (LastLayer(), Growth(), Layers(), Growth(), Correction(), AllParameters())


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
