"""The interface of every source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from covey_server.offline.errors import BadSource
from covey_server.system.regular_files import read_regular


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for an image that the source does not have, or that is too large to be read; `message` says which."""

    message: str


class Entry(NamedTuple):
    """One image of a source: its encoded bytes, or the path of the file that holds them."""

    key: str
    image: bytes | str | Missing


class Source(Protocol):
    """Images in a fixed order. `survey` comes before `entries`."""

    name: str  # for people
    total: int | None  # images, once surveyed; None: not known before the end
    left_out: Counter[str]  # what is no image, by kind

    def survey(self, folder: Path) -> dict[str, Any]:
        """What identifies this source and its present state, as JSON. `folder` is where it may keep a file of its own
        until the end. Raises BadSource."""

    def entries(self, start: int) -> Iterator[Entry]:
        """All entries from number `start` on. Raises BadSource."""

    def fraction(self) -> float | None:
        """The share that was read, from 0 to 1; None: not known, or `total` tells it."""


def with_contents(entries: Iterable[Entry], max_bytes: int) -> Iterator[Entry]:
    """The entries with the content of each file in place of its path; of one that cannot be read, the reason."""
    for key, image in entries:
        content = image
        if isinstance(image, str):
            try:
                content = read_regular(image, max_bytes)
            except OSError as error:
                content = Missing(error.strerror or str(error))
        yield Entry(key, content)


def file_state(path: Path) -> dict[str, Any]:
    """A file's name and state, which differ once it has changed. Raises BadSource."""
    try:
        state = path.stat()
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror or error}") from error
    return {"name": path.name, "size_bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def too_large(size_bytes: int, max_bytes: int) -> Missing:
    return Missing(f"it has {size_bytes:,} bytes; at most {max_bytes:,} are read (--max-image-bytes)")


def printable(name: str) -> str:
    """A name as text that every format can hold; its bytes that are not UTF-8 become \\x.. ."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
