"""Which version becomes the default one where nobody has chosen: the highest, unless its file says that it is much less
accurate on its test images than the one that is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class HeldBack(NamedTuple):
    """A version that does not become the default one, the one that stays it, and their accuracies, 0 to 1."""

    version: int
    accuracy: float
    stays: int
    stays_accuracy: float


def choose(accuracies: Mapping[int, float], served: int | None, max_loss: float) -> tuple[int, HeldBack | None]:
    """The default version of those served, and the highest one that is held back, if any is. `accuracies` are what
    their files say, 0: nothing, and then there is nothing to compare. `served` is the default version so far; None or
    not there any more: the lowest is what the others are compared with."""
    found = served if served is not None and served in accuracies else min(accuracies)
    held_back = None
    for version in sorted(each for each in accuracies if each > found):
        mine, others = accuracies[version], accuracies[found]
        if mine and others and others - mine > max_loss:
            held_back = HeldBack(version, mine, found, others)
        else:
            found, held_back = version, None
    return found, held_back
