"""The finished parts of a result: files beside it, each complete or absent, that become one file at the end.

`out.parquet.parts/` holds a file for each part, named by the numbers of its first row and of the one behind its last,
and `run.json`, which says of what. A process that is killed at any moment leaves at most a file that no name of a part
has; who comes next goes on behind the last part.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from covey_proto.wording import plural
from covey_server.errors import InvalidConfiguration
from covey_server.offline.errors import Stopped
from covey_server.offline.rows import Block, Layout, RowFormat
from covey_server.offline.tally import Tally

_RUN, _LOCK = "run.json", "lock"
_PART = re.compile(r"(\d{12})-(\d{12})\.(?:parquet|csv|jsonl)")
_OURS = re.compile(r"\d{12}-\d{12}\.\w+|\..*\.partial|run\.json|files")  # beside the lock


class Parts:
    """The folder of parts, locked for other processes until `close`."""

    def __init__(self, target: Path, row_format: RowFormat, *, restart: bool) -> None:
        """Makes the folder of parts or opens the existing one; `restart` clears it. Raises InvalidConfiguration."""
        self.target = target
        self.folder = target.with_name(f"{target.name}.parts")
        self.position = 0  # rows that are in parts
        self.tally = Tally()
        self._row_format = row_format
        if not target.parent.is_dir():
            raise InvalidConfiguration(
                f"--to {target}: there is no folder {target.parent}; make it: mkdir -p {target.parent}"
            )
        if target.is_dir():
            raise InvalidConfiguration(f"--to {target}: expected the name of a file, this is a folder")
        if target.exists() and not self.folder.exists() and not restart:
            raise InvalidConfiguration(
                f"--to {target}: the file is there already; name another one, or replace it: --restart"
            )
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InvalidConfiguration(
                f"--to {target}: {self.folder} cannot be made: {error.strerror}; parts are kept there until the end"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InvalidConfiguration(
                f"--to {target}: another process is writing it; wait for its end, or name another file"
            ) from None
        if restart:
            self._clear()

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Goes on with the parts of a run of just this identity, or begins it. Raises InvalidConfiguration if the parts
        are those of another run."""
        run = self.folder / _RUN
        if run.exists() and self._finished():
            earlier = json.loads(run.read_text())
            if different := [name for name in identity if identity[name] != earlier.get(name)]:
                raise InvalidConfiguration(
                    f"{self.folder} has parts of another run: {_differences(earlier, identity, different)}. Give the "
                    f"same command as then to go on with it, or begin anew: --restart"
                )
        else:
            self._write(run, lambda file: file.write(json.dumps(identity, indent=1).encode()))
        for _, stop in self._finished():
            self.position = stop

    def _tally(self) -> Tally:
        tally = Tally()
        for start, stop in self._finished():
            tally.add(Tally.from_json(self._path(start, stop).with_suffix(".json").read_text()))
        return tally

    def commit(self, blocks: Sequence[Block], layout: Layout) -> None:
        """Adds a part, whose rows follow those of the last one. Raises Stopped if it cannot be written."""
        tally = Tally.of(blocks)
        start, stop = self.position, self.position + tally.images
        path = self._path(start, stop)
        self._write(path.with_suffix(".json"), lambda file: file.write(tally.to_json().encode()))
        self._write(path, lambda file: self._row_format.write(blocks, file, layout))  # from here on there is the part
        self.position = stop

    def merge(self, layout: Layout, metadata: Mapping[str, Any]) -> None:
        """Writes the target from all parts and removes them; `tally` then counts all rows. Raises Stopped."""
        parts = [self._path(start, stop) for start, stop in self._finished()]
        self.tally = self._tally()
        self._write(self.target, lambda file: self._row_format.merge(parts, file, layout, metadata))
        self.remove()

    def remove(self) -> None:
        """Removes the parts and, unless somebody else keeps files there, their folder."""
        self._clear()
        (self.folder / _LOCK).unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def close(self) -> None:
        """Unlocks the folder; one without a part is removed."""
        if (self.folder / _LOCK).exists() and not self._finished():
            self.remove()
        os.close(self._lock)

    def _finished(self) -> list[tuple[int, int]]:
        """The finished parts as (first row, row behind the last), without gaps from row 0 on."""
        names = filter(None, (_PART.fullmatch(path.name) for path in self.folder.iterdir()))
        parts, end = [], 0
        for start, stop in sorted((int(name[1]), int(name[2])) for name in names):
            if start == end and stop > start:
                parts.append((start, stop))
                end = stop
        return parts

    def _clear(self) -> None:
        """Removes the files that were made here, and no others: the folder may be somebody's."""
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()

    def _path(self, start: int, stop: int) -> Path:
        return self.folder / f"{start:012}-{stop:012}{self.target.suffix.lower()}"

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        """Writes a file completely or not at all. Raises Stopped."""
        temporary = self.folder / f".{path.name}.partial"
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise Stopped(f"{path} cannot be written: {error.strerror or error}") from error


def _differences(earlier: Mapping[str, Any], current: Mapping[str, Any], names: Sequence[str]) -> str:
    sentences = []
    for name in names:
        earlier_value, current_value = earlier.get(name, {}), current[name]
        if name == "source":
            sentences.append(
                f"the source has changed, or is another one ({_describe_source(earlier_value)} then, "
                f"{_describe_source(current_value)} now)"
            )
        elif name == "model":
            sentences.append("the model's file has changed, or is another one")
        elif isinstance(current_value, dict):
            changed = [option for option in current_value if earlier_value.get(option) != current_value[option]]
            sentences += [
                f"{option} was {earlier_value.get(option)!r}, is {current_value[option]!r}" for option in changed
            ]
        else:
            sentences.append(f"{name} was {earlier_value!r}, is {current_value!r}")
    return "; ".join(sentences)


def _describe_source(identity: Mapping[str, Any]) -> str:
    if identity.get("kind") == "folder":
        return f"{identity['images']:,} images"
    files = identity.get("files", [])
    return f"{plural(len(files), 'file')} of {sum(file['size_bytes'] for file in files):,} bytes"
