"""Which files of a folder are meant where a folder of images is named, and which are left out: for the command line,
the load test and data sets. Imports nothing else of Covey's but the table of formats.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covey_proto import image_formats
from covey_proto.image_formats import DEFAULT, Format

# What file managers, archives and cameras' stations leave behind, beside all that begins with a dot.
_LITTER = frozenset(
    {
        *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    }
)


@dataclass(slots=True)
class Found:
    """The images of a folder, by name, and what else lies there by kind: `{".heic": 3, ".txt": 2}`."""

    files: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is nobody's image: `.x`, `._x.png`, `__MACOSX`, `Thumbs.db`, `@eaDir`."""
    return name.startswith(".") or name.lower() in _LITTER


def find(folder: Path, formats: Collection[Format] = DEFAULT) -> Found:
    """The images below `folder`, at any depth, by suffix. Links to files are followed, those to folders are not."""
    found = Found()
    for path in _files(folder):
        if image_formats.of_name(path.name) in formats:
            found.files.append(path)
        else:
            found.left_out[kind(path.name)] += 1
    found.files.sort()
    return found


def kind(name: str) -> str:
    """What a file that is left out counts as: its suffix in small letters."""
    return os.path.splitext(name)[1].lower() or "without a suffix"  # noqa: PTH122 - Path costs five times as much


def counted(left_out: Mapping[str, int]) -> str:
    """Kinds for people, the most frequent first: "3 .heic, 2 .txt"."""
    by_count = sorted(left_out.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count:,} {name}" for name, count in by_count)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            if not is_hidden(name):
                yield Path(parent, name)
