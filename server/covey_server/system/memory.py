"""Returns freed memory to the system, except for a little that is kept for the next image.

By default glibc raises both of its thresholds to twice the largest block it has seen, up to 64 MB in each thread's
heap: after a few large images the process keeps memory that nobody uses. Fixed thresholds end that. Images of ordinary
requests still find their memory kept: each new page costs about 2 us, and an image of 640 x 480 has 300. Figures:
docs/decoding.md.
"""

from __future__ import annotations

import ctypes
import mmap
import os

MAX_KEPT_BLOCK_BYTES = 4 * 2**20  # an RGB image of a megapixel; larger blocks come from the system and go back
MAX_KEPT_BYTES = 8 * 2**20  # at the end of each heap

_M_TRIM_THRESHOLD = -1  # of malloc.h
_M_MMAP_THRESHOLD = -3
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def bound_freed_memory() -> bool:
    """Sets glibc's thresholds for this process. To be called once, before there are threads. Returns False if the user
    has set them in the environment, or the C library has none (macOS, musl)."""
    if any(name in os.environ for name in _OF_THE_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAX_KEPT_BLOCK_BYTES) and mallopt(_M_TRIM_THRESHOLD, MAX_KEPT_BYTES))


def can_reserve(count: int) -> bool:
    """Whether so many bytes of address space can be reserved at once, without using them."""
    try:
        mmap.mmap(-1, count, **_PRIVATE).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True
