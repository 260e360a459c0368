"""The folder that a store is mirrored into. It is a models folder, `NAME/VERSION/model.onnx`, with hidden files for
what is being fetched (`.partial`), what was fetched (`.state.json`, `.synced`), and which process fetches (`.lock`).

A version's folder appears complete, by one renaming. A file of it that changes is replaced by one renaming, its model
last, so that there is a whole model at any moment.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from covey_proto import atomic_files, layout
from covey_server.remote.listing import Stamp

_FORMAT = 1


class Entry(NamedTuple):
    """A fetched file: its state in the store at that time, and the SHA-256 of its content."""

    stamp: Stamp
    sha256: str


class Cache:
    """One cache folder. The process that has the lock writes it. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = folder / ".state.json"
        self._synced = folder / ".synced"  # its time says when
        self._partial = folder / ".partial"
        self._lock: int | None = None
        self.entries: dict[str, Entry] = {}  # by path

    def lock(self) -> bool:
        """Whether this process is the one that writes. Once it is, it stays so until `close`."""
        if self._lock is not None:
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / layout.MIRROR_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self._partial, ignore_errors=True)  # of a process that has ended
            self.entries = self._read()
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        return True

    def close(self) -> None:
        """Releases the lock, so that another process can write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def synced_s(self) -> float | None:
        """When the folder was last equal to the store, whichever process compared them; None: never."""
        try:
            return self._synced.stat().st_mtime
        except OSError:
            return None

    @property
    def has_models(self) -> bool:
        """Whether there is a model to serve."""
        return any(self.folder.glob(f"[!.]*/*/{layout.FILE_NAME}"))

    def mark_synced(self) -> None:
        """Notes that the folder is equal to the store now."""
        self._synced.touch()

    def holds(self, unit: str, files: Mapping[str, Stamp]) -> bool:
        """Whether the folder has exactly the files of a version that the store has, in the same states."""
        return self._stamps(unit) == files and (self.folder / unit / layout.FILE_NAME).is_file()

    def entry(self, path: str, stamp: Stamp) -> Entry | None:
        """The entry of a file, if the folder has it in the state of the store."""
        entry = self.entries.get(path)
        return entry if entry is not None and entry.stamp == stamp and (self.folder / path).is_file() else None

    def require_room(self, size_bytes: int) -> None:
        """Raises OSError where the disk has no room for so many more bytes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(self.folder).free
        if size_bytes > free_bytes:
            raise OSError(
                f"{size_bytes / 2**20:,.0f} MiB are needed and {free_bytes / 2**20:,.0f} MiB are free in {self.folder}"
            )

    def partial(self, path: str, stamp: Stamp) -> Path:
        """The path for a file of this state while it is fetched. Partial files of its other states are removed."""
        folder = self._partial / path
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / hashlib.sha256(repr(tuple(stamp)).encode()).hexdigest()[:16]
        for earlier in folder.iterdir():
            if earlier != target:
                earlier.unlink()
        return target

    def forget_partial(self, unit: str) -> None:
        """Removes what was fetched of an incomplete version."""
        shutil.rmtree(self._partial / unit, ignore_errors=True)

    def install(self, unit: str, fetched: Mapping[str, Path], entries: Mapping[str, Entry]) -> None:
        """Moves the fetched files of a version, by name, into its folder. `entries` are those of all its files; other
        files are removed."""
        target = self.folder / unit
        if target.is_dir():
            for name in sorted(fetched, key=lambda name: name == layout.FILE_NAME):
                fetched[name].replace(target / name)
            for old in target.iterdir():
                if old.name not in entries:
                    _remove(old)
        else:
            staging = self._partial / ".whole"
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            for name, path in fetched.items():
                path.replace(staging / name)
            _sync(staging)
            target.parent.mkdir(exist_ok=True)
            staging.replace(target)
        _sync(target)
        _sync(target.parent)
        self._drop(unit)
        self.entries |= {f"{unit}/{name}": entry for name, entry in entries.items()}
        self._write()
        self.forget_partial(unit)

    def install_choice(self, path: str, fetched: Path, entry: Entry) -> None:
        """Moves one of a model's choice files into its folder."""
        (self.folder / path).parent.mkdir(exist_ok=True)
        fetched.replace(self.folder / path)
        self.entries[path] = entry
        self._write()
        self.forget_partial(path)

    def remove(self, path: str) -> None:
        """Removes a version or a choice file, and the model's folder with the last one."""
        trash = self._partial / ".gone"
        shutil.rmtree(trash, ignore_errors=True)
        trash.mkdir(parents=True)
        target = self.folder / path
        target.replace(trash / target.name)  # at once, then file by file
        shutil.rmtree(trash, ignore_errors=True)
        if not any(target.parent.iterdir()):
            target.parent.rmdir()
        self._drop(path)
        self._write()

    def present(self) -> Iterable[str]:
        """The versions and choice files in the folder, whoever put them there."""
        for model in sorted(self.folder.iterdir()):
            if layout.is_model_name(model.name) and model.is_dir():
                yield from (f"{model.name}/{child.name}" for child in sorted(model.iterdir()))

    def _stamps(self, unit: str) -> dict[str, Stamp]:
        prefix = f"{unit}/"
        return {path[len(prefix) :]: entry.stamp for path, entry in self.entries.items() if path.startswith(prefix)}

    def _drop(self, path: str) -> None:
        self.entries = {
            entry_path: entry
            for entry_path, entry in self.entries.items()
            if entry_path != path and not entry_path.startswith(f"{path}/")
        }

    def _read(self) -> dict[str, Entry]:
        """The entries of fetched files; none where the state cannot be read, so that they are fetched again."""
        try:
            state = json.loads(self._state.read_text())
            files = state["files"].items() if state["format"] == _FORMAT else ()
            return {path: Entry(Stamp(size, tag), sha256) for path, (size, tag, sha256) in files}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write(self) -> None:
        files = {path: [*entry.stamp, entry.sha256] for path, entry in sorted(self.entries.items())}
        atomic_files.write_text(self._state, json.dumps({"format": _FORMAT, "files": files}, indent=1))


def _sync(folder: Path) -> None:
    """Makes renamings in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
