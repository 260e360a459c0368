"""Text in aligned columns, safe to print whatever it holds."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence


def render(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """`header` and `rows` as lines of aligned columns; those whose header is in `right` are aligned to the right.

    The last column is not padded: a long remark there widens nothing.
    """
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(_width(cell) for cell in column) for column in zip(*lines, strict=True)]
    widths[-1] = 0
    to_right = [title in right for title in header]
    return "\n".join("  ".join(map(_padded, line, widths, to_right)).rstrip() for line in lines)


def printable(text: str) -> str:
    """`text` with what is no printable character escaped: a file's name must not steer the terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _padded(cell: str, width: int, right: bool) -> str:
    padding = " " * (width - _width(cell))
    return padding + cell if right else cell + padding


def _width(text: str) -> int:
    """How many columns of a terminal `text` takes: wide East Asian characters take two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - combining
