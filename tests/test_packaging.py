"""One version everywhere, and a light import that leaves JAX as it found it."""

import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib


ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"] == importlib.metadata.version("sobng")


def test_importing_sobng_is_light_and_flips_no_flag():
    # In a process of its own: here, other tests have imported and configured already.
    program = """
import sys
import jax
before = dict(jax.config.values)
import sobng
assert dict(jax.config.values) == before
late = {"matplotlib", "optax", "scipy.stats", "shapely"}
print(*sorted(late.intersection(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
