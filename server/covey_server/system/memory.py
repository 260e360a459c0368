"""Owns what becomes of memory that was freed: a little is kept for the next image, the rest goes back to the system.

Left to itself, glibc raises both of its thresholds to twice the largest block it has seen, up to 64 MB in each
thread's heap: a few large images, and the process holds for good what no one uses. Fixed thresholds end that. They are
chosen so that the images of everyday requests still find their memory at hand; each page that has to be fetched anew
costs about two microseconds, an image of 640 x 480 has 300. Figures: docs/decoding.md.
"""

from __future__ import annotations

import ctypes
import mmap
import os

MAX_KEPT_BLOCK_BYTES = 4 * 2**20  # one RGB image of a megapixel; larger ones come from the system and go back there
MAX_KEPT_BYTES = 8 * 2**20  # at the end of each heap

_M_TRIM_THRESHOLD = -1  # of malloc.h
_M_MMAP_THRESHOLD = -3
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def bound_freed_memory() -> bool:
    """Sets glibc's thresholds for this process; to be called once, before there are threads. False where the user has
    set them in the environment, or where the C library has none (macOS, musl)."""
    if any(name in os.environ for name in _OF_THE_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAX_KEPT_BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, MAX_KEPT_BYTES))


def can_reserve(count: int) -> bool:
    """Whether so many bytes of address space can be had in one piece, without using them."""
    try:
        mmap.mmap(-1, count, **_PRIVATE).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True
