"""Images' vectors for an index: of which files, by which model, and what could not be read."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covey.client import Client
from covey.errors import InvalidInput
from covey.similar.index import FileState, NewImage
from covey.similar.models import EmbeddingModel
from covey_proto import image_folders

VectorOrError = NDArray[np.float32] | Exception


class Embedder(Protocol):
    """Gives images' vectors by one model."""

    model: EmbeddingModel

    def embed(self, paths: Iterable[Path]) -> Iterator[VectorOrError]:
        """The vector of each image, in order, or why it has none."""
        ...


@dataclass
class Sources:
    """Files to add, by name. `left_out` counts other files of folders, by kind."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def find(paths: Sequence[Path], folder: Path) -> Sources:
    """The images of files and folders; names are relative to `folder` where they lie below it. Raises InvalidInput for
    what is not there."""
    sources = Sources()
    for path in paths:
        if path.is_dir():
            listing = image_folders.find(path)
            sources.left_out.update(listing.left_out)
            files: Sequence[Path] = [file for file in listing.files if not _is_special(file)]
            if special := len(listing.files) - len(files):
                sources.left_out["FIFOs, sockets or devices"] += special
        elif path.exists():
            files = [path]
        else:
            raise InvalidInput(f"{path} is not there; expected an image file or a folder of them")
        sources.files.update((name_of(file, folder), file) for file in files)
    return sources


def _is_special(path: Path) -> bool:
    """Whether it is a FIFO, say, which could be read for ever."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # whoever reads it says why it cannot be
        return False


def name_of(path: Path, folder: Path) -> str:
    """What an index of `folder` calls a file: its path below the folder, else the whole one."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay what they are
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def state_of(path: Path) -> FileState:
    """When a file was written, and its size; that of no file where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def changed(files: Mapping[str, Path], known: Mapping[str, FileState]) -> dict[str, Path]:
    """Those that are new, or were written since the index has them."""
    return {name: path for name, path in files.items() if known.get(name) != state_of(path)}


class ServerEmbedder:
    """Embeds by one version of a model that a server serves."""

    def __init__(self, client: Client, name: str, version: int) -> None:
        """Raises CallError, UnknownModel if it does not serve it."""
        self._client = client
        self.model = EmbeddingModel.from_model(client.model(name, version))

    def embed(self, paths: Iterable[Path]) -> Iterator[VectorOrError]:
        """The vector of each image, in order, or why it has none. Raises CallError."""
        name, version = self.model.name, self.model.version
        for answer in self._client.classify_many(paths, model=name, version=version, top_k=1, embedding=True):
            vector = answer.error if answer.error is not None else answer.embedding
            assert vector is not None  # else the request has failed
            yield vector


def embedded(
    embedder: Embedder, files: Mapping[str, Path], failed: Callable[[str, Exception], object]
) -> Iterator[NewImage]:
    """Each image with its vector. Those that cannot be read go to `failed`."""
    states = _States(files.values())
    for name, vector in zip(files, embedder.embed(states), strict=True):
        state = states.taken.popleft()
        if isinstance(vector, Exception):
            failed(name, vector)
        else:
            yield name, state, vector


class _States:
    """Paths, and what their files were when they were taken: before they were read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = iter(paths)
        self.taken: deque[FileState] = deque()

    def __iter__(self) -> _States:
        return self

    def __next__(self) -> Path:
        path = next(self._paths)
        self.taken.append(state_of(path))
        return path
