"""Labelling by lines: shows each image, as far as the terminal can, and asks for its class."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from covey.cli.table import printable
from covey.errors import InvalidInput
from covey.labelling import keys
from covey.labelling.captures import Capture, Captures

_HELP = """\
A class: its key, its name, or how its name begins. Enter alone: the prediction is right.
u: take back the last one. d: discard, no image of any class. q: quit, what is labelled stays.
?: all classes. Where a class is named so itself, write :u, :d or :q."""
_MAX_COLUMNS = 64
_ESCAPE = "\x1b["


def run(captures: Captures, lines: TextIO, out: TextIO) -> None:
    """Asks until all images are labelled, `lines` end, or the person quits. Raises InvalidInput where the folder cannot
    be written."""
    known = keys.of_classes(captures.classes)
    _print(out, _HELP)
    while (capture := captures.next()) is not None:
        _show(capture, captures, out)
        if not _ask(captures, capture, known, lines, out):
            return
    _print(out, f"All {captures.decided:,} images are labelled.")


def _ask(captures: Captures, capture: Capture, known: dict[str, str], lines: TextIO, out: TextIO) -> bool:
    """One decision. False: the person has ended it."""
    while True:
        out.write("class? ")
        out.flush()
        line = lines.readline()
        if not line:
            _print(out, "")  # the question's line has no end yet
            return False
        word = line.strip()
        is_class = word in known if len(word) == 1 else word in captures.classes
        command = "" if is_class else word.removeprefix(":")
        if command == "q":
            return False
        if command == "u":
            if captures.undo() is not None:
                return True
            _print(out, "There is nothing to take back.")
        elif command == "d":
            captures.discard(capture)
            return True
        elif command == "?":
            by_label = {label: key for key, label in known.items()}
            for label in captures.classes:
                _print(out, f"  {by_label.get(label, ' ')}  {printable(label)}")
        elif label := _label(word or capture.predicted, captures, known, out):
            captures.label(capture, label)
            return True


def _label(word: str, captures: Captures, known: dict[str, str], out: TextIO) -> str:
    """The class that is meant; empty where that is not clear, which is then said."""
    found = keys.find(word, captures.classes, known)
    if len(found) == 1:
        return found[0]
    if found:
        more = ", ..." if len(found) > 5 else ""
        _print(out, f"{printable(word)!r} can be {', '.join(map(printable, found[:5]))}{more}; write more of it.")
    else:
        _print(out, f"No class is called {printable(word)!r}; ? lists all {len(captures.classes):,}.")
    return ""


def _show(capture: Capture, captures: Captures, out: TextIO) -> None:
    sure = "" if capture.probability is None else f", {capture.probability:.1%} sure"
    _print(
        out, f"\n{captures.decided + 1:,} of {captures.decided + captures.waiting:,}: {printable(str(capture.path))}"
    )
    if out.isatty() and (drawing := _drawing(capture.path)):
        _print(out, drawing)
    _print(out, f"predicted: {printable(capture.predicted)}{sure}{capture.why and '; '}{capture.why}")


def _drawing(path: Path) -> str:
    """An image in half blocks, two pixels a character; empty where Pillow or colours are missing. Raises
    InvalidInput."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return ""
    try:
        from PIL import Image
    except ImportError:
        return ""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise InvalidInput(f"{path} is no image that can be read ({error}); move it away") from error
    columns, rows = shutil.get_terminal_size()
    factor = min(1.0, min(_MAX_COLUMNS, columns) / image.width, 2 * max(1, rows - 6) / image.height)
    image = image.resize((max(1, int(image.width * factor)), max(2, int(image.height * factor) // 2 * 2)))
    pixels = np.asarray(image).tolist()
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        blocks = (
            f"{_ESCAPE}38;2;{_colour(top)};48;2;{_colour(bottom)}m▀" for top, bottom in zip(upper, lower, strict=True)
        )
        lines.append(f"{''.join(blocks)}{_ESCAPE}0m")
    return "\n".join(lines)


def _colour(pixel: Sequence[int]) -> str:
    return ";".join(map(str, pixel))


def _print(out: TextIO, text: str) -> None:
    out.write(text + "\n")
