"""The folder of an index: which files are in it, how they are read, and how a new state takes the place of the old one.

`index.json` says what the index is, and which generation of the other files is valid. A change writes a new generation
beside the old one, then replaces index.json in one step: whoever reads, and whoever is interrupted, has the one or the
other. Readers that still have the old files mapped keep them.

    vectors-G.f32   [N, D] little-endian float32, each of length 1 (or 0), to be mapped into memory
    images-G.npy    [N, 3] int64: key (ascending), modification time in ns and size in bytes of the image's file
    names-G.json    the images' names, in the same order
    graph-G.usearch where the index is large: approximate neighbours of the keys
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from covey.errors import InvalidInput
from covey_proto import atomic_files

FORMAT = 1
_ABOUT, _LOCK = "index.json", "lock"
# Files of a generation, and what an interrupted change has left: whatever else lies in the folder is not ours.
_PART = re.compile(r"vectors-(\d+)\.(?:f32|new)|images-(\d+)\.npy|names-(\d+)\.json|graph-(\d+)\.usearch")
_UNFINISHED = re.compile(rf"\.{re.escape(_ABOUT)}\.[0-9a-f]{{8}}")
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, EOFError, RecursionError, MemoryError)
_KINDS = {"str": str, "int": int, "bool": bool}
_ATTEMPTS = 5  # to read a generation before the next one takes its place
KEY, MODIFIED, SIZE = range(3)  # columns of `Table.images`


@dataclass(frozen=True)
class About:
    """What an index is made of. `digest` is that of the model (`covey.Serving.digest`), `size` that of a vector,
    `folder` where images lie whose names are no absolute paths."""

    model: str
    version: int
    digest: str
    size: int
    folder: str
    images: int = 0
    generation: int = 0
    next_key: int = 0
    has_graph: bool = False


@dataclass(frozen=True)
class Table:
    """The images of an index: names, `[N, 3] int64` of them (see KEY, MODIFIED, SIZE), and vectors `[N, D] float32`."""

    names: list[str]
    images: NDArray[np.int64]
    vectors: NDArray[np.float32]


def empty(about: About) -> Table:
    """Of an index that is not written yet."""
    return Table([], np.zeros((0, 3), np.int64), np.zeros((0, about.size), np.float32))


def read(folder: Path) -> tuple[About, Table]:
    """Raises InvalidInput where there is no index, or it is damaged."""
    for attempt in range(_ATTEMPTS):
        about = read_about(folder)
        try:
            return about, _read_table(folder, about)
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS - 1:
                raise InvalidInput(f"{folder}: {Path(error.filename).name} is missing; make the index again") from error
        except OSError as error:
            raise InvalidInput(f"{error.filename or folder} cannot be read ({error.strerror})") from error
    raise AssertionError("unreachable")


def read_about(folder: Path) -> About:
    """What index.json says. Raises InvalidInput."""
    path = folder / _ABOUT
    try:
        content = json.loads(path.read_text())
        if content.pop("format") != FORMAT:
            raise InvalidInput(f"{path}: of another version of Covey; make the index again, or use that version")
        about = About(**content)
        for field in dataclasses.fields(About):
            value = getattr(about, field.name)
            if type(value) is not _KINDS[str(field.type)] or (isinstance(value, int) and value < 0):
                raise ValueError(f"{field.name} is {value!r}")
        return about
    except FileNotFoundError:
        raise InvalidInput(f"{folder} is no index (it has no {_ABOUT}); make one with `covey similar index`") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror})") from error
    except InvalidInput:
        raise
    except _DAMAGE as error:
        raise InvalidInput(f"{path} is damaged ({error}); make the index again") from error


def graph_path(folder: Path, generation: int) -> Path:
    """Where the graph of a generation lies, if it has one."""
    return folder / f"graph-{generation}.usearch"


def vectors_path(folder: Path, generation: int) -> Path:
    """Where the vectors of a generation lie."""
    return folder / f"vectors-{generation}.f32"


def map_vectors(path: Path, count: int, size: int) -> NDArray[np.float32]:
    """`[count, size] float32`, mapped into memory. Raises InvalidInput where the file has another size."""
    size_bytes = path.stat().st_size
    if size_bytes != 4 * count * size:
        raise InvalidInput(f"{path} has {size_bytes:,} bytes, expected {4 * count * size:,}; make the index again")
    if not size_bytes:
        return np.zeros((count, size), np.float32)
    return np.memmap(path, "<f4", "r", shape=(count, size))


def write_table(folder: Path, about: About, names: list[str], images: NDArray[np.int64]) -> None:
    """All files of a generation but its vectors and its graph, which are there; then index.json. Raises OSError."""
    generation = about.generation
    with _flushed(folder / f"names-{generation}.json") as file:
        file.write(json.dumps(names).encode())
    with _flushed(folder / f"images-{generation}.npy") as file:
        np.save(file, images)
    atomic_files.write_text(
        folder / _ABOUT, json.dumps({"format": FORMAT, **dataclasses.asdict(about)}, indent=2) + "\n"
    )
    remove_other_generations(folder, generation)


def remove_other_generations(folder: Path, generation: int) -> None:
    """What an earlier state, or one that was never finished, has left. Other files stay."""
    with suppress(OSError):
        for path in folder.iterdir():
            part = _PART.fullmatch(path.name)
            if (part and int(part[part.lastindex or 0]) != generation) or _UNFINISHED.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()


def require_new(folder: Path) -> None:
    """Raises InvalidInput where an index cannot begin: in a folder that has one, or anything that no index has left."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read ({error.strerror}); name another place") from error
    if _ABOUT in names:
        raise InvalidInput(f"{folder} has an index already; `covey similar add` adds to it, or remove the folder")
    was_begun = _LOCK in names
    others = [name for name in names if name != _LOCK and not (was_begun and _is_ours(name))]
    if others:
        raise InvalidInput(f"{folder} has other files in it, such as {others[0]}; name a new folder or an empty one")


def _is_ours(name: str) -> bool:
    return bool(_PART.fullmatch(name) or _UNFINISHED.fullmatch(name))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time changes an index. Raises InvalidInput where another one does so now, or where nothing can
    be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("ab")
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written to ({error.strerror}); name another place") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInput(f"{folder} is being changed by another process; wait for it") from None
        yield


def flush(file: IO[bytes]) -> None:
    """What was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _flushed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        yield file
        flush(file)


def _read_table(folder: Path, about: About) -> Table:
    generation, count = about.generation, about.images
    names_path, images_path = folder / f"names-{generation}.json", folder / f"images-{generation}.npy"
    try:
        names: Any = json.loads(names_path.read_text())
        with images_path.open("rb") as file:
            images = np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGE as error:
        raise InvalidInput(f"{folder} is damaged ({error}); make the index again") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"{names_path} is damaged: expected a list of names; make the index again")
    if images.dtype != np.int64 or images.shape != (count, 3):
        raise InvalidInput(f"{images_path} is damaged: expected {count:,} x 3 integers; make the index again")
    if len(names) != count or not (np.diff(images[:, KEY]) > 0).all():
        raise InvalidInput(f"{folder} is damaged: {len(names):,} names for {count:,} images; make the index again")
    return Table(names, images, map_vectors(vectors_path(folder, generation), count, about.size))
