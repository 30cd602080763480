"""What the command line keeps of compilation, where, and whom it leaves alone."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from sobng.cli.cache import folder_for_programs, keep_compiled


PROBLEM = pathlib.Path(__file__).parents[1] / "problems" / "advection_1d.py"


def run(home):
    """The last line of a run in a process of its own."""
    command = [sys.executable, "-m", "sobng", "run", str(PROBLEM), "--json", "-"]
    environment = os.environ | {"XDG_CACHE_HOME": str(home), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def kept(home):
    return sorted(path.name for path in home.rglob("*-cache"))


def test_a_second_run_compiles_nothing_anew_and_ends_the_same(tmp_path):
    first = run(tmp_path)
    programs = kept(tmp_path)
    second = run(tmp_path)
    assert any("segment" in name for name in programs)
    assert kept(tmp_path) == programs
    assert second["rel_l2"] == first["rel_l2"]


@pytest.fixture
def config(monkeypatch, tmp_path):
    """JAX's settings, put back afterwards."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_folder_that_the_user_chose_is_kept(config, tmp_path):
    config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    keep_compiled()
    assert config.jax_compilation_cache_dir == str(tmp_path / "mine")


def test_a_full_folder_is_emptied(config, tmp_path, monkeypatch):
    config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr("sobng.cli.cache.LIMIT", 3)
    old = folder_for_programs() / "old-cache"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"four")
    keep_compiled()
    assert not old.exists()
    assert config.jax_compilation_cache_dir == str(old.parent)


def test_a_home_that_cannot_be_written_to_is_no_error(config, tmp_path, monkeypatch):
    config.update("jax_compilation_cache_dir", None)
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    keep_compiled()
    assert config.jax_compilation_cache_dir is None
