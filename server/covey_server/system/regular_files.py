"""Opens files that others have written: only regular files, without waiting, and only as much as was there when they
were opened. A FIFO or a device in place of a file could otherwise block, or be read, for ever."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@contextmanager
def open_regular(path: Path | str) -> Iterator[tuple[int, int]]:
    """The descriptor of a file and its size in bytes. Links are followed.

    Raises OSError if it cannot be opened or is no regular file; then `strerror` names its kind.
    """
    # Before it is opened: opening a device can already change it. (Making a Path takes half as long as all the rest.)
    _require_regular(os.stat(path), path)  # noqa: PTH116
    descriptor = os.open(path, _FLAGS)
    try:
        state = os.fstat(descriptor)
        _require_regular(state, path)
        yield descriptor, state.st_size
    finally:
        os.close(descriptor)


def read_regular(path: Path | str, max_bytes: int) -> bytes:
    """The content of a file. Raises OSError as `open_regular`, and for a file of more than `max_bytes`."""
    with open_regular(path) as (descriptor, size_bytes):
        if size_bytes > max_bytes:
            raise OSError(errno.EFBIG, f"it has {size_bytes:,} bytes, at most {max_bytes:,} are read", str(path))
        parts = []
        left = size_bytes
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _require_regular(state: os.stat_result, path: Path | str) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, expected a regular file", str(path))
