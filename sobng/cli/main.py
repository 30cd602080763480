"""The arguments of the command line, and its front."""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import jax

from sobng.cli.cache import keep_compiled
from sobng.cli.commands import (
    export_command,
    info_command,
    INTERRUPTED,
    list_command,
    run_command,
    UNUSABLE,
)
from sobng.cli.output import Unusable


class _Parser(argparse.ArgumentParser):
    # argparse prints its usage and leaves the process; we print one sentence.
    def error(self, message: str) -> NoReturn:
        sentence = message[:1].upper() + message[1:].rstrip(".")
        raise Unusable(f"{sentence}. See `{self.prog} --help`.")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"got '{text}', expected an integer from {low} to {high}"
            )
        return value

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"got '{text}', expected a positive number of seconds"
        )
    return value


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sobng", description="Solves PDEs with neural fields.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        return sub

    run = command("run", run_command, "Solve the case of a problem file.")
    run.add_argument("file", metavar="FILE", type=pathlib.Path)
    run.add_argument("--seed", type=_integer(0, 2**32 - 1), default=0)
    run.add_argument("--max-steps", type=_integer(1, 10**12), metavar="N")
    run.add_argument(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="seconds of optimisation; compilation does not count",
    )
    run.add_argument(
        "--checkpoint",
        type=pathlib.Path,
        metavar="PATH",
        help="keep the run there; if the file is there already, resume from it",
    )
    run.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    run.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the file's `case`, see `sobng info`; may be repeated",
    )
    run.add_argument(
        "--out", type=pathlib.Path, metavar="DIR", help="for solution and picture"
    )
    run.add_argument(
        "--json",
        metavar="PATH",
        help="write one JSON object there, or with - as the last line of the output",
    )
    run.add_argument(
        "--compare",
        action="store_true",
        help="also run the natural gradient alone and Adam, on the same network",
    )
    run.add_argument("--quiet", action="store_true", help="show no progress, no table")

    listing = command("list", list_command, "List the problem files of a folder.")
    listing.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        type=pathlib.Path,
        default=pathlib.Path("problems"),
    )
    info = command("info", info_command, "Show what a problem file states and takes.")
    info.add_argument("file", metavar="FILE", type=pathlib.Path)
    export = command(
        "export", export_command, "Export a saved solution for use without sobng."
    )
    export.add_argument("solution", metavar="SOLUTION", type=pathlib.Path)
    export.add_argument("target", metavar="TARGET", type=pathlib.Path)
    return parser


def program() -> int:
    """The command `sobng`, in a process of its own: it keeps what JAX compiles."""
    keep_compiled()
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    try:
        arguments = make_parser().parse_args(argv)
        with jax.enable_x64(getattr(arguments, "dtype", "float64") == "float64"):
            return arguments.command(arguments)
    except Unusable as error:
        print(f"sobng: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("sobng: interrupted.", file=sys.stderr)
        return INTERRUPTED
