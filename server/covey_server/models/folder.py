"""Lists the models folder: which versions are there, each with a fingerprint that tells whether it has changed.

Reads names and file states, and of a model's choices the number in them; no other file's content. Keeps
nothing between two looks.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from covey_proto import layout
from covey_server.inference import import_hint
from covey_server.models import choice_files


class Fingerprint(NamedTuple):
    """The state of a file. Only compared for equality, so that wrong clocks do no harm."""

    mtime_ns: int
    size_bytes: int
    inode: int


@dataclass(frozen=True)
class Problem:
    """A version's folder exists, but its file's state is not known. `gone`: there is no file."""

    reason: str
    gone: bool


Look: TypeAlias = Fingerprint | Problem | None
"""What was found of a version; None: nothing."""


@dataclass(frozen=True)
class Listing:
    """What one look found. `unreadable` has the models whose folder cannot be listed, with the reason; `passed_over`
    has sentences about what is there and is no model. `choices` has what stands in the files `layout.CHOICES`, by
    model and file: a version or, if that cannot be read, the reason."""

    versions: Mapping[str, Mapping[int, Fingerprint | Problem]]
    unreadable: Mapping[str, str]
    passed_over: frozenset[str]
    choices: Mapping[tuple[str, str], int | str] = field(default_factory=dict)

    @property
    def is_bare(self) -> bool:
        """Whether no model file was found, and nothing that may hold one."""
        return not self.unreadable and not any(self.has_file(name) for name in self.versions)

    @property
    def names(self) -> Set[str]:
        """The names of the models that have a folder, whatever it holds."""
        return self.versions.keys() | self.unreadable.keys()

    def has_file(self, name: str) -> bool:
        """Whether a version of this model has a file, readable or not."""
        looks = self.versions.get(name, {}).values()
        return any(isinstance(look, Fingerprint) or not look.gone for look in looks)

    def look(self, name: str, version: int) -> Look:
        return self.versions.get(name, {}).get(version)


EMPTY = Listing({}, {}, frozenset())


def path_of(folder: Path, name: str, version: int) -> Path:
    return folder / name / str(version) / layout.FILE_NAME


def scan(folder: Path) -> Listing:
    """All versions of all models in the folder. Raises OSError where the folder itself cannot be listed."""
    versions: dict[str, dict[int, Fingerprint | Problem]] = {}
    unreadable: dict[str, str] = {}
    passed_over: set[str] = set()
    choices: dict[tuple[str, str], int | str] = {}
    with os.scandir(folder) as entries:
        models = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in models:
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # of a link, say
            unreadable[entry.name] = _why(error)
            continue
        is_network = not is_folder and entry.name.endswith(import_hint.SUFFIXES)
        if is_folder and not layout.is_model_name(entry.name):
            passed_over.add(
                f"{entry.path} is passed over: a model's name has 1 to 64 letters of English, digits, dots, hyphens "
                f"and underscores, and begins with no dot"
            )
        elif is_network or not layout.is_model_name(entry.name):
            passed_over.add(
                f"{entry.path} is passed over: models lie in {folder}/NAME/VERSION/{layout.FILE_NAME}"
                + (_to_serve(folder, entry.path, _name(entry.name)) if is_network else "")
            )
        elif is_folder:
            try:
                versions[entry.name], said = _scan_versions(folder, entry.path, passed_over)
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed since it was listed
            except OSError as error:
                unreadable[entry.name] = _why(error)
            else:
                choices |= {(entry.name, file): choice for file, choice in said.items()}
    return Listing(versions, unreadable, frozenset(passed_over), choices)


def look_at(path: str | Path) -> Fingerprint | Problem:
    """The state of one version's file."""
    try:
        state = os.stat(path)  # noqa: PTH116 - a str from scandir needs no Path
    except (FileNotFoundError, NotADirectoryError):
        return Problem(f"its folder holds no {layout.FILE_NAME}{_others(Path(path).parent)}", gone=True)
    except OSError as error:
        return Problem(f"its file cannot be read: {error.strerror or error}", gone=False)
    return Fingerprint(state.st_mtime_ns, state.st_size, state.st_ino)


def _others(folder: Path) -> str:
    """What to do with a network of another name in a version's folder; empty where there is none."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(import_hint.SUFFIXES))  # noqa: PTH208
    except OSError:
        return ""
    return f", but {names[0]}; to serve it: {import_hint.command(folder / names[0])}" if names else ""


def _to_serve(models: Path, file: str, name: str) -> str:
    """What to do with a network that lies beside versions or models. VERSION/model.onnx is a model's version there, and
    the folder of a model or of a version was named in place of that of all models."""
    path = Path(os.path.abspath(file))  # noqa: PTH100 - links stay as they were named
    if path.name == layout.FILE_NAME and layout.is_version(path.parent.name):
        above = shlex.quote(str(path.parent.parent.parent))
        return f"; if {models} is a model or a version, name the folder of all models: --models {above}"
    return f"; to serve it: {import_hint.command(file, models, name)}"


def _name(file: str) -> str:
    """A model's name for a file in the models folder."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(file).stem).strip(".-")[:64]
    return stem if layout.is_model_name(stem) else "NAME"


def _scan_versions(
    models: Path, folder: str, passed_over: set[str]
) -> tuple[dict[int, Fingerprint | Problem], dict[str, int | str]]:
    """A model's versions, and what its choices say, by file."""
    found: dict[int, Fingerprint | Problem] = {}
    choices: dict[str, int | str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name in layout.CHOICES:
                choices[entry.name] = _read_choice(entry.path)
                continue
            if not layout.is_version(entry.name):
                is_network = entry.name.endswith(import_hint.SUFFIXES)
                passed_over.add(
                    f"{entry.path} is passed over: a version is a folder named by a whole number from 1 up"
                    + (_to_serve(models, entry.path, Path(folder).name) if is_network else "")
                )
                continue
            try:
                if entry.is_dir():
                    found[int(entry.name)] = look_at(f"{entry.path}/{layout.FILE_NAME}")
            except OSError as error:
                found[int(entry.name)] = Problem(_why(error), gone=False)
    return found, choices


def _read_choice(path: str) -> int | str:
    """The version in a file, or what is wrong with it."""
    try:
        chosen, _ = choice_files.read(Path(path))
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    except ValueError as error:
        return str(error)
    return chosen


def _why(error: OSError) -> str:
    return f"its folder cannot be read: {error.strerror or error}"
