"""Owns what can be asked of a data set that is not loaded yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from covey_export.datasets.dataset import Dataset
from covey_export.datasets.family import Family
from covey_server.images.pixels import InputSpec


class Entry(ABC):
    """A data set by its name. `image_shape` is (height, width, channels), None where it fits every network."""

    name: str
    image_shape: tuple[int, int, int] | None
    summary: str
    family: Family  # Family.UNKNOWN: nothing is mirrored

    @abstractmethod
    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        """The data set, its images made to `spec` where they have no size of their own.

        `data_dir` is the user's folder of data sets, if there is one. Raises MissingDataset, InvalidDataset.
        """

    @abstractmethod
    def availability(self, data_dir: Path | None) -> str:
        """Where it would be read from, or how to get it. Downloads nothing."""
