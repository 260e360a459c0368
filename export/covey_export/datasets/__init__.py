"""The data sets: where they are searched for, how their files are read, and the sample that comes with Covey."""

from __future__ import annotations

from covey_export.datasets.capture import Capture
from covey_export.datasets.catalogue import CATALOGUE, find_entry
from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_export.datasets.folder import Folder

__all__ = ["CATALOGUE", "Capture", "Dataset", "Entry", "Family", "Folder", "find_entry"]
