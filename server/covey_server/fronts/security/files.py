"""Follows files that may change: tokens, certificates, keys, limits. Knows their state, not what they hold."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from covey_server.errors import InvalidConfiguration
from covey_server.system.regular_files import read_regular

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_FILE_BYTES = 4 * 2**20  # of each

State: TypeAlias = tuple[int, int, int, int]
"""Of a file: the times of the last change of its content and of anything else (a permission), its size, its inode."""


class FollowedFiles:
    """Tells when files have changed and are stable: not while one is being written, or the other file of a pair is
    still to come."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._taken = self._last = self._refused = self._look()

    def read_new(self, read: Callable[[], T], otherwise: str) -> T | None:
        """Calls `read` once for each change, as soon as two looks in a row find the same state, and returns its result;
        else None.

        If `read` raises InvalidConfiguration, that is logged once, followed by `otherwise`, and tried again at each
        look.
        """
        look = self._look()
        rests, self._last = look == self._last, look
        if not rests or look == self._taken:
            return None
        try:
            content = read()
        except InvalidConfiguration as error:
            if look != self._refused:
                log.error("%s; %s", error, otherwise)
            self._refused = look
            return None
        self._taken = look
        return content

    def _look(self) -> tuple[State | None, ...]:
        """The files' states; None for one that is not there."""
        return tuple(_state(path) for path in self._paths)


def read(setting: str, path: Path) -> bytes:
    """The content of the file that a setting names. Raises InvalidConfiguration if it cannot be read."""
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise InvalidConfiguration(f"{setting} {path}: it cannot be read: {error.strerror or error}") from error


def warn_if_open_to_all(setting: str, path: Path) -> None:
    """Warns if every user of the machine may read a file that holds a secret."""
    with suppress(OSError):  # it has just gone; the next look says so
        if not path.stat().st_mode & stat.S_IROTH:
            return
        log.warning("%s %s: every user of this machine may read it; make it yours alone: chmod 600", setting, path)


def _state(path: Path) -> State | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino
