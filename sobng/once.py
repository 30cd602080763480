"""Compiling sooner: for all programs of a run, and more so for those that run once."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp

from sobng.precision import precise


LEAN = {"xla_cpu_use_fusion_emitters": False}
"""The older code generator of the CPU, which takes half as long, for code as fast."""

GPU = {"xla_gpu_enable_triton_gemm": False}
"""Products by cuBLAS: trying hundreds of generated kernels for each took five times as long
as all else, and float32 products were less exact (H100, jax 0.11.2)."""

QUICK = {**LEAN, "xla_backend_optimization_level": 0}


def lean(function: Callable) -> Callable[..., Any]:
    """`eqx.filter_jit` that compiles in half the time: for programs that repeat.

    On a CPU (jax 0.10.2). JAX allows no such choice inside of another `jit` or `vmap`:
    there it is `eqx.filter_jit`.
    """
    return _compiled(function, LEAN)


def once(function: Callable) -> Callable[..., Any]:
    """The same without the optimisations of the code that a processor runs.

    Such a program compiles in half the time again, and runs up to twice as long: for
    short programs that the host calls a few times.
    """
    return _compiled(function, QUICK)


def _compiled(function: Callable, options: dict[str, Any]) -> Callable[..., Any]:
    jit: Any = eqx.filter_jit
    plain = jit(function)

    @functools.cache
    def chosen() -> Any:
        offered = options if jax.default_backend() == "cpu" else GPU
        known = {name: value for name, value in offered.items() if _known(name, value)}
        # Equinox hands other keywords to `jax.jit`, which its types do not say.
        return jit(function, compiler_options=known)

    @functools.wraps(function)
    @precise
    def call(*args, **kwargs):
        return (plain if _traced((args, kwargs)) else chosen())(*args, **kwargs)

    # As `eqx.filter_jit` has it, to look at what is compiled.
    vars(call)["lower"] = lambda *args, **kwargs: chosen().lower(*args, **kwargs)
    return call


def _traced(inputs: Any) -> bool:
    """Whether JAX traces what is called: inside of `jit` all arrays are tracers."""
    tracer = lambda leaf: isinstance(leaf, jax.core.Tracer)
    return tracer(jnp.zeros(())) or any(map(tracer, jax.tree.leaves(inputs)))


@functools.cache
def _known(name: str, value: Any) -> bool:
    """Whether this version of JAX has an option: jax 0.12 has one code generator only."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
