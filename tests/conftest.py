"""What every test runs under: float64, and no silent broadcasting or promotion."""

import importlib.metadata
import os


# Before anything imports matplotlib: no test may open a window.
os.environ.setdefault("MPLBACKEND", "Agg")

# Most of the suite is compilation, which the older code generator does in two thirds of the
# time (as `sobng.once` has it). XLA ends where a flag is unknown to it, as in jax 0.12.
if importlib.metadata.version("jax").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jax.random as jr  # noqa: E402
import pytest  # noqa: E402


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compilation makes the first example slow, which says nothing about the code; and a
# suite that draws other examples each time cannot be compared between two commits.
hypothesis.settings.register_profile(
    "sobng",
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sobng")


class _GetKey:
    """A fresh key at every call, the same sequence in every run."""

    def __init__(self, seed: int):
        self.seed = seed
        self.num_calls = 0

    def __call__(self):
        self.num_calls += 1
        return jr.fold_in(jr.key(self.seed), self.num_calls)


@pytest.fixture
def getkey():
    return _GetKey(seed=5678)


def pytest_addoption(parser):
    parser.addoption(
        "--benchmarks",
        action="store_true",
        help="collect tests/benchmarks too: timed work, minutes to hours",
    )


def pytest_ignore_collect(collection_path, config):
    """Leaves timed work out, unless it is asked for."""
    timed = "benchmarks" in collection_path.relative_to(config.rootpath).parts
    return True if timed and not config.getoption("--benchmarks") else None
