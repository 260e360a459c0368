"""Which runs a chart shows where it has no room for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def choose(items: Sequence[ItemT], most: int) -> list[ItemT]:
    """`most` of the items at even distances, the first and the last among them; all where they are no more."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def left_out(items: Sequence[object], shown: Sequence[object]) -> str:
    """A sentence that says so; empty where all are shown."""
    return f" Shown are {len(shown)} of the {len(items)} runs." if len(shown) < len(items) else ""
