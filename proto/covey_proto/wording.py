"""How counts and long lists are said to people, the same in every message."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED = 20  # names; of more the first few stand for all
_FEW = 10


def plural(count: int, one: str, several: str = "") -> str:
    """`1 process`, `2,000 processes`; `several` where an s does not do."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(names: Sequence[str], rest: str = "") -> str:
    """All names, or of many the first ten and how many more there are; `rest` says where all of them are."""
    if len(names) <= MAX_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_FEW])}, ... and {len(names) - _FEW:,} more{rest}"


def signed(number: float, form: str) -> str:
    """`+0.25` for the form `.2f`, below zero with a true minus sign; a plain `0.00` where nothing changed."""
    text = format(number, f"+{form}")
    return text.lstrip("+-") if not float(text) else text.replace("-", "\u2212")
