"""Owns the folder of a new model version: filled under a hidden name, then renamed, or removed.

A model is `models/<name>/<version>/`; the server ignores names that begin with a dot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType

from covey_export.errors import MissingModel
from covey_proto import layout

_PREFIX = ".incomplete-"


class NewVersion:
    """While entered, `folder` is a hidden folder of this process's own, and `version` belongs to nobody else. `parent`
    is the model's folder.

    Leaving without `publish()` removes the folder, and the folders above it that were made for it. The folder is locked
    meanwhile. What a killed process left is not locked, and the next process that makes a version removes it; on file
    systems that cannot lock folders, such as NFS, it stays, and its number is not used again.
    """

    def __init__(self, models: Path, name: str) -> None:
        self._models = models
        self.parent = models / name
        self._is_published = False

    def __enter__(self) -> NewVersion:
        """Raises OSError where `models` cannot be written to."""
        self._made = [folder for folder in (self.parent, self._models) if not folder.exists()]
        self.parent.mkdir(parents=True, exist_ok=True)
        with _Lock(self.parent, fcntl.LOCK_EX):  # whoever makes a folder has locked it before another looks at it
            self._remove_abandoned()
            self.version, self.folder = self._reserve()
            self._lock = _Lock(self.folder, fcntl.LOCK_EX)
        return self

    def publish(self) -> Path:
        """Makes the version visible and returns its folder. Raises OSError."""
        target = self.parent / str(self.version)
        self.folder.rename(target)
        self._is_published = True
        return target

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if not self._is_published:
                self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # another process may have published there meanwhile
                folder.rmdir()

    def _remove_abandoned(self) -> None:
        for folder in self.parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError), _Lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                if lock.is_held:
                    shutil.rmtree(folder, ignore_errors=True)

    def _reserve(self) -> tuple[int, Path]:
        """The next free version. Making its hidden folder is what takes it: only one process can."""
        version = 1 + max(versions(self.parent), default=0)
        while True:
            folder = self.parent / f"{_PREFIX}{version}"
            try:
                folder.mkdir()
            except FileExistsError:
                version += 1
                continue
            if (self.parent / str(version)).exists():  # published since we looked
                folder.rmdir()
                version += 1
                continue
            return version, folder


def versions(parent: Path) -> list[int]:
    """The published versions of the model in `parent`, lowest first."""
    if not parent.is_dir():
        return []
    return sorted(int(folder.name) for folder in parent.iterdir() if layout.is_version(folder.name) and folder.is_dir())


def find(models: Path, name: str, version: int | None = None) -> Path:
    """The folder of a published version, by default the highest. Raises MissingModel, with those that are there."""
    published = versions(models / name)
    chosen = version or max(published, default=None)
    if chosen in published:
        return models / name / str(chosen)
    there = ", ".join(map(str, published)) or "none"
    wanted = f"no version {chosen}" if chosen else "no version"
    raise MissingModel(f"{models / name} holds {wanted} (there: {there}); publish one with covey convert")


class _Lock:
    """Locks a folder until it is left or the process ends. Raises OSError where there is no such folder."""

    def __init__(self, folder: Path, how: int) -> None:
        self._opened = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._opened, how)
            self.is_held = True
        except OSError:  # another process has it, or the file system locks no folders
            self.is_held = False

    def __enter__(self) -> _Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._opened)
