"""Problem files: loading them, their options, their cases."""

import ast
import importlib.util
import inspect
import itertools
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from sobng.cli.output import FIELDS, Unusable
from sobng.problem import Case


_modules = itertools.count()


def load_problem_file(path: pathlib.Path) -> ModuleType:
    """Runs a problem file as a module of its own, wherever it lies.

    Files beside it can be imported while it loads. Nothing is written, not even
    bytecode, and `sys.path` is left as it was.

    **Raises:** `Unusable` if there is no such file, it fails, or has no `case`.
    """
    path = pathlib.Path(path)
    if not path.is_file() or path.suffix != ".py":
        what = "is not a Python file" if path.is_file() else "does not exist"
        raise Unusable(
            f"{path} {what}. Give a problem file, such as problems/poisson_2d.py."
        )
    name = f"sobng_problem_{next(_modules)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up the module of their class
    before = list(sys.path)
    sys.path.append(str(path.parent.resolve()))
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    # The file is anybody's code and may fail in any way, even by `sys.exit()`.
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise Unusable(
            f"{path} cannot be loaded. It fails with {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path[:] = before
    if not callable(getattr(module, "case", None)):
        raise Unusable(
            f"{path} has no function `case`. A problem file defines "
            "`case(**options)`, which returns a `sobng.Case`."
        )
    return module


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """From `name=value` to a dict; values are Python literals, else strings."""
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise Unusable(
                f"An option is written name=value. Got '{pair}'. Write for instance "
                "`--option width=64`."
            )
        if name in options:
            raise Unusable(f"The option '{name}' is given twice. Give it once.")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options[name] = value
    return options


def make_case(module: ModuleType, options: dict[str, Any]) -> Case:
    """Calls the `case` of a problem file.

    **Raises:** `Unusable` if an option is unknown or has an unusable value, or the case
    a quantity of a name that is taken.
    """
    parameters = inspect.signature(module.case).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in options if name not in parameters]
    if unknown and not takes_any:
        raise Unusable(
            f"{module.__file__} has no option {', '.join(map(repr, unknown))}. "
            f"Its options are {', '.join(parameters) or 'none'}."
        )
    try:
        case = module.case(**options)
    except ValueError as error:
        raise Unusable(str(error)) from error
    except Exception as error:  # anybody's code, as above
        raise Unusable(
            f"The `case` of {module.__file__} fails with "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(case, Case):
        raise Unusable(
            f"The `case` of {module.__file__} returns a `sobng.Case`. Got "
            f"{type(case).__name__}."
        )
    _check_names(case)
    return case


def _check_names(case: Case) -> None:
    """Raises `Unusable` if two numbers of the JSON object have one name."""
    taken = set(FIELDS)
    for label in case.quantities:
        both = {label, f"{label}_error"}
        if both & taken:
            raise Unusable(
                f"The quantity '{label}' of case '{case.name}' has the name of another "
                f"number that a run reports. Got {', '.join(sorted(both & taken))} "
                "twice. Give it another name."
            )
        taken |= both
