"""The part of a store's content that a server reads: versions with their files, and choice files. Everything else is
ignored, also names that lead out of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from covey_proto import layout
from covey_server.remote import digests

READ = frozenset({layout.FILE_NAME, *layout.BESIDE, digests.FILE})


class Stamp(NamedTuple):
    """The state of a file in the store, for comparison only. `size_bytes` is None where the store does not tell it."""

    size_bytes: int | None
    tag: str


Files: TypeAlias = Mapping[str, Stamp]
"""A version's files, by name."""


@dataclass(frozen=True)
class Listing:
    """The versions that have a model file, by `NAME/VERSION`, the highest of each model first; and the files
    `layout.CHOICES`, by `NAME/FILE`. `examples` are a few of the other paths."""

    versions: Mapping[str, Files]
    choices: Files
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, files_by_path: Files) -> Listing:
        """Sorts the paths of a store, relative to its root."""
        versions: dict[str, dict[str, Stamp]] = {}
        choices: dict[str, Stamp] = {}
        examples: list[str] = []
        for path, stamp in sorted(files_by_path.items()):
            name, _, rest = path.partition("/")
            version, _, file = rest.partition("/")
            if layout.is_model_name(name) and rest in layout.CHOICES:
                choices[path] = stamp
            elif layout.is_model_name(name) and layout.is_version(version) and file in READ:
                versions.setdefault(f"{name}/{version}", {})[file] = stamp
            elif len(examples) < 3:
                examples.append(path)
        complete = [unit for unit, files in versions.items() if layout.FILE_NAME in files]
        return cls({unit: versions[unit] for unit in sorted(complete, key=_order)}, choices, tuple(examples))


def _order(unit: str) -> tuple[str, int]:
    name, version = unit.split("/")
    return name, -int(version)
