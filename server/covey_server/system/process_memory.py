"""How much memory this process takes, as Linux tells it in /proc/self/statm."""

from __future__ import annotations

import os
from pathlib import Path

_FILE = "/proc/self/statm"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessMemory:
    """Tells the current figures. Its file stays open, so that it works even when no more files can be opened. Raises
    OSError if the system has no such file."""

    def __init__(self) -> None:
        self._descriptor = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)

    def look(self) -> tuple[int, int]:
        """The bytes of memory in use that belong to no file, and the bytes of address space that are reserved."""
        size, resident, shared, *_ = os.pread(self._descriptor, 128, 0).split()
        return (int(resident) - int(shared)) * _PAGE_BYTES, int(size) * _PAGE_BYTES

    def close(self) -> None:
        os.close(self._descriptor)


def resident_bytes() -> int:
    """The bytes of memory in use, files included; 0 if the system does not tell."""
    try:
        pages = int(Path(_FILE).read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * _PAGE_BYTES
