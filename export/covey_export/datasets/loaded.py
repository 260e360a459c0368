"""Keeps data sets in memory: each is loaded once for all jobs with the same images, and freed with the last of them."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_server.images.pixels import InputSpec


class LoadedDatasets:
    """Loads the data sets of one run.

    Keeps only weak references: a data set that nobody holds any more is freed, and loaded again when asked for.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir
        self._held: WeakValueDictionary[tuple[str, InputSpec | None], Dataset] = WeakValueDictionary()

    def load(self, entry: Entry, spec: InputSpec) -> Dataset:
        """Loads a data set, or returns the loaded one. Raises MissingDataset, InvalidDataset."""
        key = (entry.name, spec if entry.image_shape is None else None)  # images with a fixed size do not depend on it
        dataset = self._held.get(key)
        if dataset is None:
            dataset = self._held[key] = entry.load(spec, self._data_dir)
        return dataset
