"""Compiled programs that outlive the process, so that a problem is compiled once."""

import hashlib
import os
import pathlib
import platform
import shutil
from typing import Any

import jax


LIMIT = 2**29
"""Bytes from which on the folder is emptied; a problem takes two to five million."""


def keep_compiled() -> None:
    """JAX keeps what it compiles in this process for the next ones.

    A user who has chosen a folder, `JAX_COMPILATION_CACHE_DIR`, or none,
    `JAX_ENABLE_COMPILATION_CACHE=false`, is left alone.
    """
    # JAX adds its options to `config` at run time.
    config: Any = jax.config
    chosen = config.jax_compilation_cache_dir is not None
    if chosen or not config.jax_enable_compilation_cache:
        return
    try:
        folder = folder_for_programs()
        folder.mkdir(parents=True, exist_ok=True)
        if sum(file.stat().st_size for file in folder.iterdir()) > LIMIT:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError):
        return  # no home, one that cannot be written to, or a file that went away
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # A run compiles some hundred short programs, together as long as a long one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def folder_for_programs() -> pathlib.Path:
    """Where they are kept, for each kind of processor by itself.

    A home may be shared by machines, and code for one of them stops another.
    """
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    machine = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return pathlib.Path(home) / "sobng" / machine


def _processor() -> str:
    """What the machine's code depends on, as far as the system tells."""
    told = platform.machine() + platform.processor()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return told
    named = ("model name", "flags", "CPU part", "Features")
    return told + "".join(sorted({line for line in lines if line.startswith(named)}))
