"""The one switch of precision, in the user's hand."""

import jax


def enable_x64() -> None:
    """Switches JAX to float64, for the whole process; call it before arrays are made.

    !!! example

        ```python
        import sobng as sn

        sn.enable_x64()
        ```
    """
    jax.config.update("jax_enable_x64", True)
