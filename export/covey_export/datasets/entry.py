"""A data set before it is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from covey_export.datasets.dataset import Dataset
from covey_export.datasets.family import Family
from covey_server.images.pixels import InputSpec


class Entry(ABC):
    """A data set that is not loaded yet. `image_shape` is (height, width, channels), None where it fits every
    network."""

    name: str
    image_shape: tuple[int, int, int] | None
    summary: str
    family: Family  # Family.UNKNOWN: nothing is mirrored

    @abstractmethod
    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        """Loads the data set; images without a size of their own are resized to `spec`.

        `data_dir` is the user's folder of data sets, if there is one. Raises MissingDataset, InvalidDataset.
        """

    @abstractmethod
    def availability(self, data_dir: Path | None) -> str:
        """Where it would be read from, or how to get it, for people. Downloads nothing."""
