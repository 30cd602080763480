"""Checkpoints and saved solutions, over plain data."""

from sobng.io.checkpoint import (
    Checkpoint as Checkpoint,
    read as read,
    read_header as read_header,
    write as write,
)
