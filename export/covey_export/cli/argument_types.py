"""Types of options: each reads a text, or raises what argparse says to the user."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from covey_export.errors import ExportError
from covey_proto import colours

if TYPE_CHECKING:
    from covey_export.training.augmentation import Augmentation


def natural(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 0 up, got {text!r}" + (", which is too large" if text.isdecimal() else "")
        )
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if natural(text) == 0:
        raise argparse.ArgumentTypeError("expected a whole number from 1 up, got '0'")
    return int(text)


def _number(expected: str, is_right: Callable[[float], bool]) -> Callable[[str], float]:
    """The type of an option that takes one number."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not is_right(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


from_zero = _number("a number from 0 up", lambda value: 0 <= value < float("inf"))
above_zero = _number("a number above 0", lambda value: 0 < value < float("inf"))
share = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)
rate = _number("a number above 0, to below 1", lambda value: 0 < value < 1)
share_of_all = _number("a number from 0 to 1", lambda value: 0 <= value <= 1)
crop = _number("a number from 0.01 to 1", lambda value: 0.01 <= value <= 1)


def output_file(text: str) -> Path:
    """A file to write; its folder is made."""
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, got the folder {text!r}")
    return Path(text)


def colour(text: str) -> str:
    """A colour as it is kept."""
    try:
        return colours.written(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, white or black") from error


def augmentation(text: str) -> Augmentation:
    """A list of changes, see Augmentation.parse. Raises ModuleNotFoundError where torch is missing."""
    from covey_export.training.augmentation import Augmentation  # here, as it imports torch

    try:
        return Augmentation.parse(text)
    except ExportError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
