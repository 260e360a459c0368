"""Which files the arguments of `covey classify` mean: files, folders, patterns, and - for the standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from covey.errors import UnreadableFile

STDIN = "-"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


def expand(arguments: Sequence[str]) -> Iterator[str]:
    """The files in the order of the arguments, those of a folder or pattern by name.

    What is no folder and matches nothing stays as it is, for the error that reading it gives.
    """
    for argument in arguments:
        # os.path's, for a name that no file can have: Path's own raise the system's error in place of False.
        if argument == STDIN:
            yield STDIN
        elif os.path.isdir(argument):  # noqa: PTH112
            found = [str(file) for file in sorted(Path(argument).rglob("*")) if file.suffix.lower() in SUFFIXES]
            yield from (found or [argument])
        elif glob.has_magic(argument) and not os.path.exists(argument):  # noqa: PTH110
            yield from (sorted(glob.glob(argument, recursive=True)) or [argument])  # noqa: PTH207 - absolute ones too
        else:
            yield argument


def read_stdin() -> bytes:
    """Raises UnreadableFile."""
    if sys.stdin is None:
        raise UnreadableFile("the standard input cannot be read (it is closed)")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UnreadableFile(f"the standard input cannot be read ({error.strerror})") from error
