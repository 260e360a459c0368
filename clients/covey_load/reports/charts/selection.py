"""Which runs a chart shows where it has no room for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def choose(items: Sequence[ItemT], limit: int) -> list[ItemT]:
    """At most `limit` of the items, at even distances, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]


def left_out(items: Sequence[object], shown: Sequence[object]) -> str:
    """A sentence on items that are not shown; empty where all are."""
    return f" Shown are {len(shown)} of the {len(items)} runs." if len(shown) < len(items) else ""
