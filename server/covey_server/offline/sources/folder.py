"""A folder of image files, at any depth, by suffix. Their names are written to a list before the first one is read, so
that many names cost no memory, and files that are added later do not move the others."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from covey_proto import image_folders, image_formats
from covey_proto.image_formats import Format
from covey_server.offline.errors import BadSource
from covey_server.offline.sources.source import Entry, printable

LIST = "files"
_READ_BYTES = 1 << 20


class Folder:
    """See Source. The key of an image is its path below the folder."""

    def __init__(self, folder: Path, formats: Collection[Format]) -> None:
        self.name = str(folder)
        self.total: int | None = None
        self.left_out: Counter[str] = Counter()
        self._folder = folder
        self._formats = formats
        self._list: Path | None = None

    def survey(self, folder: Path) -> dict[str, Any]:
        count, digest = 0, hashlib.sha256()
        self._list = folder / LIST
        with self._list.open("wb") as file:
            for entry, name in self._files(str(self._folder), ""):
                if image_formats.of_name(name) not in self._formats:
                    self.left_out[image_folders.kind(name)] += 1
                    continue
                count += 1
                written = os.fsencode(name) + b"\0"
                file.write(written)
                digest.update(written + b"%d %d\0" % _state(entry))
        if not count:
            raise no_images(self.name, self._formats, self.left_out)
        self.total = count
        return {"kind": "folder", "images": count, "sha256": digest.hexdigest()}

    def entries(self, start: int) -> Iterator[Entry]:
        for name in islice(self._names(), start, None):
            yield Entry(printable(name), f"{self._folder}/{name}")

    def fraction(self) -> float | None:
        return None

    def _names(self) -> Iterator[str]:
        assert self._list is not None
        with self._list.open("rb") as file:
            remainder = b""
            while part := file.read(_READ_BYTES):
                *names, remainder = (remainder + part).split(b"\0")
                yield from map(os.fsdecode, names)

    def _files(self, folder: str, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
        """The files and their names, sorted. Links to files are followed, those to folders are not, as everywhere in
        Covey."""
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            raise BadSource(f"{folder}: cannot be read: {error.strerror or error}") from error
        for entry in entries:
            if image_folders.is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(entry.path, f"{prefix}{entry.name}/")
            elif not entry.is_dir():
                yield entry, prefix + entry.name


def no_images(name: str, formats: Collection[Format], left_out: Counter[str]) -> BadSource:
    """The error where a folder has other files only."""
    message = f"{name}: expected images ({image_formats.suffixes(formats)}), found "
    message += image_folders.counted(left_out) or "no file"
    inside = {".tar": "tar", ".tgz": "tgz", ".gz": "tar.gz", ".parquet": "parquet"}
    for suffix, pattern in inside.items():
        if left_out[suffix]:
            return BadSource(f"{message}; to classify what they hold, name them: {name}/*.{pattern}")
    return BadSource(f"{message}; name a folder of images, tar files or Parquet files")


def _state(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        state = entry.stat()
    except OSError:  # a link to nothing, say: it gets a row that says so
        return -1, -1
    return state.st_size, state.st_mtime_ns
