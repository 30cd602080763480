"""What each command does; a function of the parsed arguments to an exit code."""

import argparse
import inspect
import json
import pathlib
from collections.abc import Sequence
from functools import partial

import jax
import jax.export
import jax.random as jr

from sobng.cli.files import load_problem_file, make_case, parse_options
from sobng.cli.output import (
    check_folder,
    check_parent,
    say_missing,
    show_table,
    Unusable,
    write_atomically,
)
from sobng.cli.running import compare, describe, make_field, reached, Run, run_case
from sobng.evaluation import float_dtype
from sobng.plotting import plot_comparison, plot_solution
from sobng.problem import Case, Evolution
from sobng.solution import load


REACHED, UNUSABLE, SHORT, INTERRUPTED = 0, 2, 3, 130
"""Exit codes. That of an interrupt is the shell's custom, 128 + SIGINT."""


def run_command(arguments: argparse.Namespace) -> int:
    """`sobng run`: 0 if the case's accuracy was reached, 3 if not."""
    case = make_case(load_problem_file(arguments.file), parse_options(arguments.option))
    to_file = None if arguments.json in (None, "-") else pathlib.Path(arguments.json)
    if arguments.out is not None:
        check_folder(arguments.out)
    if to_file is not None:
        check_parent(to_file)
    field_key, key = jr.split(jr.key(arguments.seed))
    limits = {"max_steps": arguments.max_steps, "time_limit": arguments.time_limit}
    if arguments.compare:
        if arguments.checkpoint is not None:
            raise Unusable(
                "`--checkpoint` is for one run, and `--compare` makes three."
            )
        runs = compare(case, key, field_key, arguments.quiet, **limits)
    else:
        field = make_field(case, field_key)
        limits["checkpoint"] = arguments.checkpoint
        runs = [run_case("sobng", case, field, key, arguments.quiet, **limits)]
    table = f"{case.name}, seed {arguments.seed}\n\n{describe(runs)}"
    if arguments.json != "-" and not arguments.quiet:
        print(table, flush=True)
    line = json.dumps(runs[0].record(case.name, arguments.seed), allow_nan=False)
    if arguments.json == "-":
        print(line, flush=True)
    try:
        if to_file is not None:
            write_atomically(to_file, (line + "\n").encode())
        if arguments.out is not None:
            save(case, runs, arguments.out)
    except (OSError, ValueError) as error:
        raise Unusable(f"The results cannot be written: {error}") from error
    return REACHED if reached(case, runs[0]) else SHORT


def save(case: Case, runs: Sequence[Run], folder: pathlib.Path) -> None:
    """Writes the solution and a picture of it into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    solution = runs[0].solution
    solution.save(folder / f"{case.name}.sobng")
    picture = folder / f"{case.name}.png"
    domain, reference = case.problem.domain, case.reference
    try:
        if isinstance(case.problem, Evolution):
            end = case.options.get("t1", 1.0)
            last = None
            # A run that stopped before has no error, and its field is of another time.
            if reference is not None and runs[0].rel_l2 is not None:
                last = partial(reference, end)
            observe = None if reference is None else case.observe
            plot_solution(solution.field, domain, last, observe=observe, path=picture)
            return
        plot_comparison(
            picture,
            solution,
            domain,
            reference,
            {run.label: run.solution.history for run in runs},
            observe=case.observe,
        )
    # The reference is anybody's code, and the solution is there already.
    except Exception as error:
        say_missing("picture", error)


def list_command(arguments: argparse.Namespace) -> int:
    """`sobng list`: the problem files of a folder."""
    folder = arguments.folder
    if not folder.is_dir():
        raise Unusable(f"There is no folder {folder}. Give a folder of problem files.")
    paths = sorted(path for path in folder.glob("*.py") if path.name[0] != "_")
    rows = [["name", "dim", "accuracy", "tags", "about"]]
    for path in paths:
        try:
            module = load_problem_file(path)
            case = make_case(module, {})
        except Unusable as error:
            rows.append([path.stem, "-", "-", "-", str(error)])
            continue
        accuracy = "-" if case.accuracy is None else f"{case.accuracy:.0e}"
        first = inspect.cleandoc(module.__doc__ or "").partition("\n")[0]
        tags = ", ".join(case.tags)
        rows.append([path.stem, str(case.problem.dim), accuracy, tags, first])
    if len(rows) == 1:
        raise Unusable(f"There are no problem files in {folder}. Give another folder.")
    print(show_table(rows, "<>><<"))
    return REACHED


def info_command(arguments: argparse.Namespace) -> int:
    """`sobng info`: what a problem file states and takes."""
    module = load_problem_file(arguments.file)
    case = make_case(module, {})
    print(inspect.cleandoc(module.__doc__ or case.name))
    print("\nConditions")
    for condition in case.problem.conditions:
        kind = type(condition).__name__
        print(f"  {condition.name}: {kind} on {condition.region.name}")
    if not case.problem.conditions:
        print("  none, the ends are natural")
    print("\nOptions")
    for name, parameter in inspect.signature(module.case).parameters.items():
        plain = parameter.default is parameter.empty
        print(f"  {name}" if plain else f"  {name} = {parameter.default!r}")
    if case.accuracy is not None:
        print(f"\nAccuracy: {case.accuracy:.0e} (relative L2)")
    if case.tags:
        print(f"Tags: {', '.join(case.tags)}")
    if case.good_values:
        print(f"Good values: {case.good_values}")
    return REACHED


def export_command(arguments: argparse.Namespace) -> int:
    """`sobng export`: a saved solution as a function that needs JAX but not sobng.

    `jax.export.deserialize(bytes).call(points)` evaluates it at points `[n, dim]`.
    """
    source, target = arguments.solution, arguments.target
    if not source.is_file():
        raise Unusable(f"There is no file {source}. Give a saved solution.")
    check_parent(target)
    try:
        solution = load(source)
        if solution.dim is None:
            raise ValueError("it does not say how many coordinates a point has.")
        (num,) = jax.export.symbolic_shape("n")
        dtype = float_dtype(solution.field)
        points = jax.ShapeDtypeStruct((num, solution.dim), dtype)
        # For any accelerator, not only the one that is here.
        exported = jax.export.export(
            jax.jit(lambda points: solution(points)), platforms=("cpu", "cuda")
        )
        content = bytes(exported(points).serialize())
    except (ValueError, ImportError) as error:
        raise Unusable(f"{source} cannot be exported: {error}") from error
    write_atomically(target, content)
    return REACHED
