"""The command line: `sobng run`, `list`, `info` and `export`."""

from sobng.cli.main import main as main, program as program
