"""Files: checkpoints bit for bit, and what is wrong with a file in one sentence."""

import json
import os
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from sobng.fields.mlp import MLP
from sobng.io import archive
from sobng.io.checkpoint import as_checkpoint, Checkpoint, read, read_header, write
from sobng.io.names import find_class, FUNCTIONS, name_of_function
from sobng.io.serial import load_tree, save_tree


def state(seed=0):
    """What a run holds: of every kind one."""
    params, _ = eqx.partition(MLP(2, width=4, key=jr.key(seed)), eqx.is_inexact_array)
    random = np.random.default_rng(seed)
    return {
        "params": params,
        "optax": optax.adam(1e-3).init(params),
        "key": jr.key(seed),
        "keys": jr.split(jr.key(seed, impl="rbg"), 3),
        "weak": jnp.asarray(0.1 * (1 + seed)),
        "half": jnp.asarray(random.random(3), jnp.bfloat16),
        "history": random.random((5, 2)),
        "empty": np.zeros((0, 3)),
        "nan": np.array([np.nan, np.inf, -0.0]),
        "scalar": np.float64(seed),
        "number": 1.0 / (3 + seed),
        "count": seed,
        "flag": bool(seed),
        "complex": 1j * seed,
        "text": "kept",
        "function": jnp.tanh,
        "none": None,
    }


def bits(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jr.key_data(leaf)
    return np.asarray(leaf).tobytes() if hasattr(leaf, "dtype") else leaf


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    path, saved, like = tmp_path / "run", state(1), state(0)
    write(path, {"fingerprint": "f", "step": 3, "loss": 0.1}, saved)
    header, found = read(path, like, "f")
    assert header == {"fingerprint": "f", "step": 3, "loss": 0.1} == read_header(path)
    assert jax.tree.structure(found) == jax.tree.structure(saved)
    pairs = zip(jax.tree.leaves(saved), jax.tree.leaves(found), strict=True)
    for a, b in pairs:
        assert type(a) is type(b) and bits(a) == bits(b)
        # Else the resumed run would compile again.
        assert getattr(a, "weak_type", None) == getattr(b, "weak_type", None)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def test_the_same_state_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, {"step": 1}, state())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def changed(**changes):
    return state() | changes


OTHERS = {
    "another fingerprint": (changed(), "g"),
    "another shape": (changed(history=np.zeros((4, 2))), "f"),
    "another dtype": (changed(weak=jnp.float32(1.0)), "f"),
    "another entry": (changed(more=jnp.ones(2)), "f"),
    "another kind": (changed(count=1.0), "f"),
    "another kind of key": (changed(key=jr.key(0, impl="rbg")), "f"),
    "an array for a function": (changed(function=jnp.ones(2)), "f"),
}


@pytest.mark.parametrize("like, fingerprint", OTHERS.values(), ids=list(OTHERS))
def test_the_state_of_another_run_is_foreign(like, fingerprint, tmp_path):
    write(tmp_path / "run", {"fingerprint": "f"}, state())
    with pytest.raises(ValueError, match="foreign checkpoint"):
        read(tmp_path / "run", like, fingerprint)


def test_an_interrupted_write_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run"
    write(path, {"step": 1}, state())
    before = path.read_bytes()

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, {"step": 2}, state())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence_and_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "run"
    write(path, {"step": 1}, state())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="No space left"):
        write(path, {"step": 2}, state())
    assert read_header(path) == {"step": 1} and list(tmp_path.iterdir()) == [path]


def truncated(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def rewritten(path, **changes):
    """The same file with another header, and sums that fit."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    header = json.loads(members["header.json"]) | changes
    members["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def another_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "hello")


def class_of(module, name):
    return {"tree": {"module": module, "class": name, "fields": {}}}


# What happened to a file that was good, and a word of the sentence.
DAMAGE = {
    "cut at the end": (lambda p: truncated(p, 0.999), "corrupt"),
    "cut in half": (lambda p: truncated(p, 0.5), "corrupt"),
    "cut to three bytes": (lambda p: p.write_bytes(p.read_bytes()[:3]), "corrupt"),
    "empty": (lambda p: p.write_bytes(b""), "corrupt"),
    "text": (lambda p: p.write_text("hello, this is text"), "foreign"),
    "another archive": (another_zip, "foreign"),
    "another program's": (lambda p: rewritten(p, format="other"), "foreign"),
    "newer": (lambda p: rewritten(p, version=99), "newer"),
    "another kind": (lambda p: rewritten(p, kind="recipe"), "recipe"),
    "gone": (lambda p: p.unlink(), "Cannot read"),
}
DAMAGE_OF_TREES = DAMAGE | {
    "no tree": (lambda p: rewritten(p, tree={"what": 1}), "unknown kind"),
    "a list for a module": (lambda p: rewritten(p, tree=[1]), "corrupt"),
    "a missing array": (
        lambda p: rewritten(p, tree={"array": "members/77", "of": "jax"}),
        "corrupt",
    ),
    "a class of Python": (lambda p: rewritten(p, **class_of("os", "system")), "os"),
    "a class of others": (
        lambda p: rewritten(p, **class_of("equinox.nn", "MLP")),
        "equinox",
    ),
    "what sobng imports": (
        lambda p: rewritten(p, **class_of("sobng.fields.mlp", "jr")),
        "does not have",
    ),
    "no module of sobng": (
        lambda p: rewritten(p, **class_of("sobng.fields.gone", "MLP")),
        "does not have",
    ),
    "an unknown function": (
        lambda p: rewritten(p, tree={"function": "os.system"}),
        "corrupt",
    ),
}


@pytest.mark.parametrize("damage, words", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_checkpoint_is_a_sentence(damage, words, tmp_path):
    path = tmp_path / "run"
    write(path, {}, state())
    damage(path)
    with pytest.raises(ValueError, match=words) as error:
        read(path, state())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage, words", DAMAGE_OF_TREES.values(), ids=list(DAMAGE_OF_TREES)
)
def test_a_damaged_field_is_a_sentence(damage, words, tmp_path):
    path = tmp_path / "field"
    save_tree(path, MLP(2, width=4, key=jr.key(0)), kind="field")
    damage(path)
    with pytest.raises(ValueError, match=words) as error:
        load_tree(path, kind="field")
    assert "\n" not in str(error.value)


def test_no_flipped_byte_goes_unnoticed(tmp_path):
    path, field = tmp_path / "field", MLP(1, width=2, key=jr.key(0))
    save_tree(path, field, kind="field")
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 100):
        changed = bytearray(content)
        changed[position] ^= 1 << (int(position) % 8)
        path.write_bytes(changed)
        try:
            found = load_tree(path, kind="field")
        except ValueError:
            continue
        # Dates and permissions of the members mean nothing.
        assert eqx.tree_equal(found, field)


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "run"


BAD = {
    "no name": (lambda p: Checkpoint(3), "name of a file"),
    "no steps": (lambda p: Checkpoint(p / "run", every=0), "`every`"),
    "steps that are no number": (lambda p: Checkpoint(p / "run", every="5"), "`every`"),
    "no folder": (lambda p: Checkpoint(p / "a" / "run"), "folder"),
    "a folder": (lambda p: Checkpoint(p), "folder"),
    "below a file": (lambda p: as_checkpoint(below_a_file(p)), "write"),
    "written below a file": (lambda p: write(below_a_file(p), {}, {}), "write"),
    "a header that is not plain": (
        lambda p: write(p / "run", {"a": object()}, {}),
        "plain data",
    ),
    "objects": (
        lambda p: write(p / "run", {}, np.array([None, "a"], object)),
        "objects",
    ),
}


@pytest.mark.parametrize("call, words", BAD.values(), ids=list(BAD))
def test_what_cannot_be_written_is_a_sentence(call, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        call(tmp_path)
    assert [p for p in tmp_path.iterdir() if p.name != "file"] == []


def test_what_solve_takes_as_a_checkpoint(tmp_path):
    mine = Checkpoint(tmp_path / "run", every=7)
    assert as_checkpoint(None) is None and as_checkpoint(mine) is mine
    assert as_checkpoint(tmp_path / "run") == Checkpoint(
        str(tmp_path / "run"), every=50
    )


def test_every_function_has_one_name():
    for name, function in FUNCTIONS.items():
        # Some are one function under two names; the first is as good.
        assert FUNCTIONS[name_of_function(function)] is function, name
    assert name_of_function(len) is None


def test_only_final_classes_of_sobng_are_found():
    assert find_class("sobng.fields.mlp", "MLP") is MLP
    for module, name in (("sobng", "MLP"), ("sobng.fields", "MLP"), ("sobng..", "a")):
        with pytest.raises(ValueError):
            find_class(module, name)


def test_a_tree_of_everything_comes_back(tmp_path):
    tree = {
        "a": (1, 2.5, True, None, "text", 1j, float("inf")),
        "b": [np.float32(2.0), np.arange(3), jnp.ones((2, 0))],
        "c": {"dtype": np.dtype("float32"), "bytes": b"\0\1"},
        "key": jr.key(3),
        "names": np.array(["one", "three"]),
    }
    save_tree(tmp_path / "a", tree, kind="tree")
    found = load_tree(tmp_path / "a", kind="tree")
    assert list(found) == list(tree) and found["c"] == tree["c"]
    assert found["a"] == tree["a"] and isinstance(found["a"], tuple)
    assert isinstance(found["b"][0], np.float32) and isinstance(found["b"], list)
    assert eqx.tree_equal(found["b"], tree["b"]) and bits(found["key"]) == bits(
        tree["key"]
    )
    assert np.array_equal(found["names"], tree["names"])


def test_a_header_says_who_wrote_it(tmp_path):
    save_tree(tmp_path / "a", jnp.ones(2), kind="array")
    header, _ = archive.read_archive(tmp_path / "a", "array")
    assert header["format"] == "sobng" and header["version"] == archive.VERSION
    assert header["jax"] == jax.__version__ and header["dtype"] == "float64"
