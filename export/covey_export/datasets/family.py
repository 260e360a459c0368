"""What the images of a data set show, and so which random changes keep their class."""

from __future__ import annotations

import enum


class Family(enum.Enum):
    """Each data set states its own; training/augmentation.py has the changes for each family."""

    SIGNS = "signs"  # digits and letters: a mirrored one is another sign, or none
    CLOTHES = "clothes"  # a mirrored shirt is a shirt; all stand in the middle
    PHOTOGRAPHS = "photographs"
    NUMBERS = "numbers"  # every pixel counts: nothing may change
    UNKNOWN = "unknown"  # one's own images
