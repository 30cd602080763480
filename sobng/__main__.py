"""`python -m sobng` is the command `sobng`."""

import sys

from sobng.cli.main import program


sys.exit(program())
