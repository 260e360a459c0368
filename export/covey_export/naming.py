"""Names given on the command line: which exist, which was probably meant, which may be a folder's name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from covey_export.errors import ExportError, UnknownName
from covey_proto import layout

_NAMES_LIMIT = 100  # of those that a message lists: timm has 1,371 networks
_FEW = 20  # are listed where there are more
_NEAR = 3  # are listed of the rarer ones
_MAX_LENGTH = 56  # of a name that is made here: a variant's is longer by "-float16"


def unknown(kind: str, name: str, known: Iterable[str], rarely: Iterable[str] = (), others: str = "") -> UnknownName:
    """The error for a name that does not exist: the known ones, nearest first.

    Of the names in `rarely` only those are listed that are near; `others` says what else there is.
    """
    names = [*known, *difflib.get_close_matches(name.lower(), list(rarely), n=_NEAR)]
    near = difflib.get_close_matches(name.lower(), names, n=len(names), cutoff=0.4)
    ordered = [*near, *(other for other in names if other not in near)]
    hint = f" Did you mean {near[0]}?" if near else ""
    more = f" and {len(ordered) - _FEW:,} more" if len(ordered) > _NAMES_LIMIT else ""
    shown = ordered[:_FEW] if more else ordered
    return UnknownName(f"no {kind} is named {name!r}.{hint} There are: {', '.join(shown)}{more}{others}")


def require_model_name(name: str) -> str:
    """`name`, where it may be a model's. Raises ExportError otherwise."""
    if not layout.is_model_name(name):
        raise ExportError(
            f"{name!r} cannot be a model's name: expected 1 to 64 letters, digits, dots, hyphens or underscores, "
            f"not beginning with a dot"
        )
    return name


def model_name_of(path: Path) -> str:
    """A model's name for a file or folder: its own, without what may not be in a name."""
    own = path.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", own.name if own.is_dir() else own.stem).strip(".-")
    return name[:_MAX_LENGTH] if layout.is_model_name(name[:_MAX_LENGTH]) else "model"
