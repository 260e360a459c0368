"""Which files the arguments of `covey classify` mean: files, folders, patterns, and - for the standard input.

What is named is sent, whatever it is; of folders the images that every server decodes, by suffix.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from covey.errors import UnreadableFile
from covey_proto import image_folders

STDIN = "-"


def expand(arguments: Sequence[str], left_out: Counter[str]) -> Iterator[str]:
    """The files in the order of the arguments, those of a folder or pattern by name. Hidden ones (`._x.png`,
    `__MACOSX`) count only where they are named. `left_out` gets the other files of folders, by kind.

    What is no folder and matches nothing stays as it is, for the error that reading it gives.
    """
    for argument in arguments:
        # os.path's, for a name that no file can have: Path's own raise the system's error in place of False.
        if argument == STDIN:
            yield STDIN
        elif os.path.isdir(argument):  # noqa: PTH112
            found = image_folders.find(Path(argument))
            left_out.update(found.left_out)
            yield from (map(str, found.files) if found.files else [argument])
        elif glob.has_magic(argument) and not os.path.exists(argument):  # noqa: PTH110
            yield from (_matches(argument) or [argument])
        else:
            yield argument


def _matches(pattern: str) -> list[str]:
    """By name, without what file managers leave behind. (What begins with a dot glob finds only where that is said.)"""
    named = Path(pattern).parts

    def is_meant(part: str) -> bool:
        return part in named or part.startswith(".") or not image_folders.is_hidden(part)

    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute ones too
    return [path for path in found if all(map(is_meant, Path(path).parts))]


def read_stdin() -> bytes:
    """Raises UnreadableFile."""
    if sys.stdin is None:
        raise UnreadableFile("the standard input cannot be read (it is closed)")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UnreadableFile(f"the standard input cannot be read ({error.strerror})") from error
