"""Images' vectors from a server, for an index: which files, in which order, and what could not be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covey.client import Client
from covey.errors import InvalidInput, ServerError
from covey.results import Model
from covey.similar.index import New, State
from covey.similar.storage import About
from covey_proto import image_folders


@dataclass
class Sources:
    """Files to add, by name. `left_out` counts other files of folders, by kind."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def find(paths: Sequence[Path], folder: Path) -> Sources:
    """The images of files and folders; names are relative to `folder` where they lie below it. Raises InvalidInput for
    what is not there."""
    found = Sources()
    for path in paths:
        if path.is_dir():
            inside = image_folders.find(path)
            found.left_out.update(inside.left_out)
            files: Sequence[Path] = inside.files
        elif path.exists():
            files = [path]
        else:
            raise InvalidInput(f"{path} is not there; expected an image file or a folder of them")
        found.files.update((name_of(file, folder), file) for file in files)
    return found


def name_of(path: Path, folder: Path) -> str:
    """What an index of `folder` calls a file: its path below the folder, else the whole one."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay what they are
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def state_of(path: Path) -> State:
    """When a file was written, and its size; that of no file where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, -1
    return found.st_mtime_ns, found.st_size


def changed(files: Mapping[str, Path], known: Mapping[str, State]) -> dict[str, Path]:
    """Those that are new, or were written since the index has them."""
    return {name: path for name, path in files.items() if known.get(name) != state_of(path)}


def about(model: Model, folder: Path) -> About:
    """What an index by this model says of itself. Raises InvalidInput where the model publishes no embedding."""
    if not model.embedding_size:
        raise InvalidInput(
            f"model {model.name!r} version {model.version} publishes no embedding; convert it with covey-export "
            f"convert --embedding, or name another one by --model"
        )
    digest = "" if model.serving is None else model.serving.digest
    return About(model.name, model.version, digest, model.embedding_size, os.path.abspath(folder))  # noqa: PTH100


def embed(
    client: Client, about: About, files: Mapping[str, Path], failed: Callable[[str, Exception], object]
) -> Iterator[New]:
    """Each image with its vector, by the version that the index is of. Those that cannot be read go to `failed`."""
    states = _States(files.values())
    answers = client.classify_many(states, model=about.model, version=about.version, top_k=1, embedding=True)
    for name, answer in zip(files, answers, strict=True):
        state = states.taken.pop(0)
        if answer.error is not None:
            failed(name, answer.error)
            continue
        if answer.embedding is None:
            raise ServerError(f"{client.target} answered no embedding for {name}; this is a bug", client.target)
        yield name, state, answer.embedding


class _States:
    """Paths, and what their files were when they were taken: before they were read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = iter(paths)
        self.taken: list[State] = []

    def __iter__(self) -> _States:
        return self

    def __next__(self) -> Path:
        path = next(self._paths)
        self.taken.append(state_of(path))
        return path
