"""The shape of the code: classes abstract or final, imports down the ladder only."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re

import equinox as eqx
import pytest

import sobng


ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sobng"

# Imported inside the function that needs them, so that `import sobng` stays fast; and
# nothing else is: another delayed import hides a dependency that should not be there.
LAZY = {"matplotlib", "optax", "scipy.stats", "shapely"}

# Interfaces without an abstract member, each with its reason.
MEMBERLESS: set[str] = set()

MODULES = sorted(PACKAGE.rglob("*.py"))


def read_levels(page: str) -> dict[str, int]:
    """The ladder, from the table of rooms that people read: `| 4 | `sobng/x.py` |`."""
    rows = re.findall(r"^\| (\d+) \|([^|]*)\|", page, re.MULTILINE)
    return {
        room: int(level)
        for level, rooms in rows
        for room in re.findall(r"`sobng/(\w+)(?:\.py|/)`", rooms)
    }


LEVELS = read_levels((ROOT / "docs" / "design.md").read_text())


def room_of(module: str) -> str | None:
    """`sobng.metrics.sobolev` lies in `metrics`; `sobng` itself lies in no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported_names(node: ast.AST) -> list[str]:
    """The dotted names that an import statement asks for, members included."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: write the import absolutely"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def imports(path: pathlib.Path) -> list[tuple[str, bool]]:
    """Every imported name of a file, and whether it is imported inside a function."""
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    delayed = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, functions)
        for inner in ast.walk(outer)
    }
    # Below `if TYPE_CHECKING:` nothing is imported, only named: it costs no time and
    # carries no dependency that runs.
    unused = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.unparse(outer.test)
        for inner in ast.walk(outer)
    }
    return [
        (name, node in delayed)
        for node in ast.walk(tree)
        if node not in unused
        for name in imported_names(node)
    ]


def is_lazy(name: str) -> bool:
    return any(name == lazy or name.startswith(f"{lazy}.") for lazy in LAZY)


def all_subclasses(cls: type) -> set[type]:
    direct = set(cls.__subclasses__())
    return direct.union(*(all_subclasses(sub) for sub in direct))


def our_modules() -> set[type]:
    for info in pkgutil.walk_packages(sobng.__path__, "sobng."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)
    return {
        cls
        for cls in all_subclasses(eqx.Module)
        if cls.__module__.split(".")[0] == "sobng"
    }


def is_abstract(cls: type) -> bool:
    # `inspect.isabstract` alone misses the `AbstractVar`s of equinox.
    abstract_vars = cls.__abstractvars__ | cls.__abstractclassvars__
    return inspect.isabstract(cls) or len(abstract_vars) > 0


def test_every_module_is_abstract_or_final():
    for cls in our_modules():
        named_abstract = cls.__name__.lstrip("_").startswith("Abstract")
        if cls.__name__ not in MEMBERLESS:
            assert is_abstract(cls) == named_abstract, cls
        for base in cls.__bases__:
            if base.__module__.split(".")[0] == "sobng":
                allowed = is_abstract(base) or base.__name__ in MEMBERLESS
                assert allowed, f"{cls} subclasses the final class {base}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_lies_in_a_room_and_imports_down_the_ladder(path):
    module = name_of(path)
    room = room_of(module)
    if room is None or room == "__main__":
        return  # the front door lists everything and holds nothing
    assert room in LEVELS, f"{module} lies in no room of docs/design.md"
    for name, _ in imports(path):
        assert name.split(".")[0] not in ("problems", "tests"), f"{module}: {name}"
        if name.split(".")[0] != "sobng" or room_of(name) == room:
            continue
        assert is_module(".".join(name.split(".")[:2])), (
            f"{module} imports {name} from the front door: name the room"
        )
        assert LEVELS[room_of(name)] < LEVELS[room], f"{module} looks up to {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_slow_packages_are_imported_late_and_nothing_else_is(path):
    for name, delayed in imports(path):
        assert delayed == is_lazy(name), f"{name} in {name_of(path)}"


@pytest.mark.parametrize("path", sorted((ROOT / "problems").rglob("*.py")), ids=name_of)
def test_problems_use_only_public_sobng(path):
    for name, _ in imports(path):
        package, _, member = name.partition(".")
        if package == "sobng" and member:
            found = getattr(sobng, member, None)
            assert found is not None and not inspect.ismodule(found), (
                f"{name} is not public"
            )
