"""How much memory this process takes, as Linux tells it in /proc/self/statm."""

from __future__ import annotations

import os
from pathlib import Path

_FILE = "/proc/self/statm"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessMemory:
    """Figures of this moment, as often as one likes: the file stays open, and is read even where no other file can be
    opened any more. Raises OSError where there is none."""

    def __init__(self) -> None:
        self._descriptor = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)

    def look(self) -> tuple[int, int]:
        """Bytes of memory in use that are no file's, and bytes of address space that are reserved."""
        size, resident, shared, *_ = os.pread(self._descriptor, 128, 0).split()
        return (int(resident) - int(shared)) * _PAGE_BYTES, int(size) * _PAGE_BYTES

    def close(self) -> None:
        os.close(self._descriptor)


def resident_bytes() -> int:
    """Bytes of memory in use, those of files included; 0 where the system does not say."""
    try:
        pages = int(Path(_FILE).read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * _PAGE_BYTES
