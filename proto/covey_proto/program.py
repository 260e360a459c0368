"""The words by which this program was called, such as "covey", "covey export" or "covey-server".

One command leads to the others (`covey serve` runs the server), and each must speak of itself as the user did: its
usage has all of these words, its errors begin with the first. Hints name commands as `covey COMMAND`, which every
installation has.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

COVEY, SERVER, EXPORT = "covey", "covey-server", "covey-export"
_words = ""


@contextlib.contextmanager
def called(words: str) -> Iterator[None]:
    """While entered, the program was called by these words, which stand before its arguments."""
    global _words
    before, _words = _words, words
    try:
        yield
    finally:
        _words = before


def words(usual: str) -> str:
    """The words by which it was called; `usual` where no command runs, as in a library."""
    return _words or usual


def name(usual: str) -> str:
    """The first of these words, as errors and versions begin with it."""
    return words(usual).partition(" ")[0]


def print_error(message: str, usual: str) -> None:
    """Prints one line to standard error behind the program's name, as one piece: other threads may print too."""
    print(f"{name(usual)}: {message}\n", end="", file=sys.stderr, flush=True)
