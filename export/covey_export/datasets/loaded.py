"""Owns which data sets are in memory: each once for all who see its images alike, and no longer than they need it."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_server.images.pixels import InputSpec


class LoadedDatasets:
    """Loads data sets from the places of one run, in which a name stands for one data set.

    Holds none by itself: one that nobody holds any more is gone, and is loaded anew for whoever asks for it then.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir
        self._held: WeakValueDictionary[tuple[str, InputSpec | None], Dataset] = WeakValueDictionary()

    def load(self, entry: Entry, spec: InputSpec) -> Dataset:
        """Raises MissingDataset, InvalidDataset."""
        key = (entry.name, spec if entry.image_shape is None else None)  # images of a size of their own are as they are
        dataset = self._held.get(key)
        if dataset is None:
            dataset = self._held[key] = entry.load(spec, self._data_dir)
        return dataset
