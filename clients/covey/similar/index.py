"""An index of images: opened, searched, and changed. Where its vectors come from is the caller's affair."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey.errors import InvalidInput
from covey.results import Model
from covey.similar import models, search, storage
from covey.similar.graph import Graph, is_installed
from covey.similar.models import EmbeddingModel
from covey.similar.search import Match
from covey.similar.storage import KEY, MODIFIED, SIZE, About, Table

GRAPH_FROM = 10_000  # images; fewer are compared with each other in a few milliseconds
_PROPOSED = 8  # times as many as are asked for, of which the nearest are taken
_MIN_PROPOSED = 64
_ROWS_AT_ONCE = 16_384

FileState = tuple[int, int]  # modification time in ns, size in bytes
NewImage = tuple[str, FileState, NDArray[np.float32]]  # name, file and vector


class Index:
    """An index as it was when it was opened: later changes do not touch it."""

    def __init__(self, folder: Path, about: About, table: Table) -> None:
        self.folder = folder
        self.about = about
        self._table = table
        self._graph: Graph | None = None
        if about.has_graph and is_installed():
            self._graph = Graph.read(storage.graph_path(folder, about.generation))

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Index:
        """That of a folder. Raises InvalidInput where it has none, or a damaged one."""
        return cls(Path(folder), *storage.read(Path(folder)))

    def __len__(self) -> int:
        return self.about.images

    @property
    def names(self) -> list[str]:
        """Of its images: paths below `about.folder`, or absolute ones."""
        return self._table.names

    @property
    def is_approximate(self) -> bool:
        """Whether `search` looks at some of the images alone, unless it is told to be exact."""
        return self._graph is not None

    def states(self) -> dict[str, FileState]:
        """What each image's file was when it was added, by name."""
        return dict(zip(self.names, map(tuple, self._table.images[:, (MODIFIED, SIZE)].tolist()), strict=True))

    def require_model(self, model: Model) -> None:
        """Raises InvalidInput for any but the one that the vectors are of: those of others cannot be compared."""
        models.require_same(self.folder, self.about, EmbeddingModel.from_model(model))

    def search(self, embedding: NDArray[np.float32], top: int = 10, *, exact: bool = False) -> list[Match]:
        """The `top` nearest images of an embedding `[D]`, nearest first, by cosine distance; fewer if there are fewer.
        Large indexes are searched by a graph, which may miss some, unless `exact` is asked for. Distances are always
        exact. Raises InvalidInput."""
        if top < 1:
            raise InvalidInput(f"top is {top}; expected a number of images from 1 on")
        vector = np.asarray(embedding, np.float32)
        if vector.shape != (self.about.size,) or not np.isfinite(vector).all():
            raise InvalidInput(
                f"an embedding of shape {list(vector.shape)}; the index has vectors of {self.about.size:,} numbers, "
                f"all finite"
            )
        query = search.unit(vector[None])[0]
        rows, distances = self._nearest(query, top, exact=exact)
        if not np.isfinite(distances).all():
            raise InvalidInput(f"{self.folder} is damaged: it has vectors that are not finite; make the index again")
        names, folder = self.names, Path(self.about.folder)
        return [
            Match(names[row], folder / names[row], float(distance))
            for row, distance in zip(rows.tolist(), distances.tolist(), strict=True)
        ]

    def _nearest(
        self, query: NDArray[np.float32], top: int, *, exact: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        table = self._table
        if self._graph is not None and not exact:
            keys = self._graph.nearest(query, max(_PROPOSED * top, _MIN_PROPOSED))
            if len(keys) >= min(top, len(self)):
                rows = np.searchsorted(table.images[:, KEY], keys)
                return search.among(table.vectors, rows, query, top)
        return search.exact(table.vectors, query, top)


def create(folder: Path, about: About, new: Iterable[NewImage]) -> Index:
    """A new index in a new or empty folder. Raises InvalidInput where it is neither, or cannot be written."""
    storage.require_new(folder)
    with storage.locked(folder):
        storage.require_new(folder)  # another process may have made one meanwhile
        return _change(folder, about, storage.empty(about), frozenset(), new)


def change(folder: Path, *, remove: Collection[str] = (), add: Iterable[NewImage] = ()) -> Index:
    """Removes images by name, and adds others; one that is added takes the place of that of the same name. All or
    nothing. Raises InvalidInput."""
    with storage.locked(folder):
        about, table = storage.read(folder)
        return _change(folder, about, table, frozenset(remove), add)


def _change(folder: Path, about: About, table: Table, removed: Collection[str], new: Iterable[NewImage]) -> Index:
    storage.remove_other_generations(folder, about.generation)  # what a killed process has left
    generation = about.generation + 1
    path = storage.vectors_path(folder, generation)
    try:
        names, states = [], []
        with path.with_suffix(".new").open("wb") as file:  # the new ones first: which are replaced is not known before
            for name, state, vector in new:
                names.append(name)
                states.append(state)
                file.write(search.unit(_vector(vector, about)[None]).astype("<f4").tobytes())
        added = storage.map_vectors(path.with_suffix(".new"), len(names), about.size)
        latest = {name: place for place, name in enumerate(names)}  # of those that came twice
        places = np.array(sorted(latest.values()), np.int64)
        outdated = frozenset(removed) | latest.keys()
        kept = np.array([row for row, name in enumerate(table.names) if name not in outdated], np.int64)
        keys = about.next_key + np.arange(len(places))
        with path.open("wb") as file:
            for vectors, rows in ((table.vectors, kept), (added, places)):
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    file.write(vectors[rows[start : start + _ROWS_AT_ONCE]].tobytes())
            storage.flush(file)
        images = np.concatenate(
            [table.images[kept], np.column_stack([keys, np.array(states, np.int64).reshape(-1, 2)[places]])]
        )
        all_names = [*(table.names[row] for row in kept), *(names[place] for place in places)]
        vectors = storage.map_vectors(path, len(images), about.size)
        dropped = np.setdiff1d(table.images[:, KEY], images[:, KEY])
        changed = dataclasses.replace(
            about,
            images=len(images),
            generation=generation,
            next_key=about.next_key + len(places),
            has_graph=_write_graph(folder, about, images[:, KEY], vectors, dropped, len(kept)),
        )
        storage.write_table(folder, changed, all_names, images)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written ({error.strerror}); it is as it was") from error
    finally:
        path.with_suffix(".new").unlink(missing_ok=True)
        storage.remove_other_generations(folder, _valid_generation(folder, about))
    return Index(folder, changed, Table(all_names, images, vectors))


def _write_graph(
    folder: Path, about: About, keys: NDArray[np.int64], vectors: NDArray[np.float32], dropped: NDArray[np.int64],
    kept: int,
) -> bool:  # fmt: skip
    """The graph of the next generation: the one before it, changed, or a new one. False where there is none."""
    if len(keys) < GRAPH_FROM or not is_installed():
        return False
    graph = Graph.read(storage.graph_path(folder, about.generation), to_change=True) if about.has_graph else None
    if graph is None:
        graph, kept = Graph.new(about.size), 0
    else:
        graph.remove(dropped)
    graph.add(keys[kept:], vectors[kept:])
    graph.write(storage.graph_path(folder, about.generation + 1))
    return True


def _valid_generation(folder: Path, before: About) -> int:
    """The generation that index.json names."""
    try:
        return storage.read_about(folder).generation
    except InvalidInput:
        return before.generation


def _vector(vector: NDArray[np.float32], about: About) -> NDArray[np.float32]:
    numbers = np.asarray(vector, np.float32)
    if numbers.shape != (about.size,) or not np.isfinite(numbers).all():
        raise InvalidInput(f"a vector of shape {list(numbers.shape)}; expected {about.size:,} finite numbers")
    return numbers
