"""Says of an error of someone else's code what it is, and which line of theirs raised it."""

from __future__ import annotations

import site
import sysconfig
import traceback
from pathlib import Path

import torch

import covey_export

# Code that is not the user's: a line of torch says nothing about what to change.
_LIBRARIES = tuple(
    f"{Path(folder).resolve()}/"
    for folder in (
        *torch.__path__,
        *covey_export.__path__,
        *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
        *site.getsitepackages(),
    )
)


def first_line(error: BaseException) -> str:
    """Its kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def with_line(error: BaseException) -> str:
    """The same, and the last line of the user's own code on the way to it: `(mynet.py:12: return self.last(x))`."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"SyntaxError: {error.msg} ({_place(error.filename, error.lineno, error.text)})"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    where = f" ({_place(own[-1].filename, own[-1].lineno, own[-1].line)})" if own else ""
    return first_line(error) + where


def _is_own(file: str) -> bool:
    return not file.startswith("<") and not str(Path(file).resolve()).startswith(_LIBRARIES)


def _place(file: str, line: int | None, text: str | None) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{line}" + (f": {text.strip()}" if text and text.strip() else "")
