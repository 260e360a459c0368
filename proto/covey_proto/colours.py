"""Colours as a model's metadata writes them: "#rrggbb". Imports nothing else of Covey's."""

from __future__ import annotations

import re

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255

WHITE = "#ffffff"
BLACK = "#000000"
_NAMES = {"white": WHITE, "black": BLACK}
_FORM = re.compile(r"#[0-9a-f]{6}")


def parse(text: str) -> Colour:
    """The colour that `text` writes. Raises ValueError."""
    if not _FORM.fullmatch(text.lower()):
        raise ValueError(f"expected a colour such as {WHITE}, got {text!r}")
    return (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


def written(text: str) -> str:
    """As metadata writes it: `text` may be a name, white or black, or capital letters. Raises ValueError."""
    colour = _NAMES.get(text.lower(), text.lower())
    parse(colour)
    return colour
