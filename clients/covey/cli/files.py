"""Which files the arguments of `covey classify` mean: files, folders, patterns, and - for the standard input."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

STDIN = "-"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


def expand(arguments: Sequence[str]) -> Iterator[str]:
    """The files in the order of the arguments, those of a folder or pattern by name.

    What is no folder and matches nothing stays as it is, for the error that reading it gives.
    """
    for argument in arguments:
        path = Path(argument)
        if argument == STDIN:
            yield STDIN
        elif path.is_dir():
            found = [str(file) for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
            yield from (found or [argument])
        elif glob.has_magic(argument) and not path.exists():
            yield from (sorted(glob.glob(argument, recursive=True)) or [argument])  # noqa: PTH207 - absolute ones too
        else:
            yield argument


def image(file: str) -> str | bytes:
    """What the SDK takes for `file`."""
    return sys.stdin.buffer.read() if file == STDIN else file
