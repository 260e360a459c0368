"""The Unix socket between the native front and the grpcio front behind it.

On Linux it has an abstract name: there is no file that systemd-tmpfiles could delete or a killed process could leave
behind. Elsewhere it is a file in a folder of its own. Also removes folders that killed servers have left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

IS_ABSTRACT = sys.platform == "linux"
_PREFIX, _NAME = "covey-", "grpcio.sock"


class PrivateSocket:
    """A name for a socket that nobody else uses. Raises OSError if no folder can be made for it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        if IS_ABSTRACT:
            name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
            self.address = f"unix-abstract:{name}"  # as grpcio takes it
            self.path = f"\0{name}"  # as connect() takes it
        else:
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self.path = f"{self._folder}/{_NAME}"
            self.address = f"unix:{self.path}"

    def remove(self) -> None:
        """Removes its files, if there are any."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def sweep() -> None:
    """Removes folders that killed servers of this user have left in the temporary folder: those that hold nothing but a
    socket on which nobody listens."""
    with contextlib.suppress(OSError):
        for folder in _own_folders(Path(tempfile.gettempdir())):
            if _is_left_behind(folder):
                (folder / _NAME).unlink()
                folder.rmdir()
                log.info("removed %s, which a server that was killed had left", folder)


def _own_folders(parent: Path) -> Iterator[Path]:
    with os.scandir(parent) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                    continue
                state = entry.stat(follow_symlinks=False)
                if state.st_uid == os.getuid() and stat.S_IMODE(state.st_mode) == stat.S_IRWXU:
                    yield Path(entry.path)


def _is_left_behind(folder: Path) -> bool:
    try:
        if [each.name for each in folder.iterdir()] != [_NAME]:
            return False
        if not stat.S_ISSOCK((folder / _NAME).lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as tried:
            tried.settimeout(1.0)
            tried.connect(str(folder / _NAME))
    except ConnectionRefusedError:
        return True
    except OSError:
        pass  # not ours to read, or gone meanwhile
    return False
