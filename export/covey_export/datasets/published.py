"""Data sets published as files: searched for on this machine, else downloaded by torchvision."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from covey_export.datasets import download
from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_export.errors import ExportError, MissingDataset
from covey_server.images.pixels import InputSpec

DATA_VARIABLE = "COVEY_DATA"
_DISTRIBUTION = Path("/usr/share/datasets")  # where Debian's dataset-* packages install


@dataclass(frozen=True)
class PublishedSet(Entry):
    """One published set. `reader` is the module of its file format (`is_present`, `load`)."""

    name: str
    image_shape: tuple[int, int, int] | None
    summary: str
    family: Family
    labels: tuple[str, ...]
    licence: str
    reader: ModuleType
    folders: tuple[str, ...]  # below a folder of data sets, in the order of search
    files: str  # what lies there, for people
    torchvision_name: str
    package: str = ""  # of a distribution

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        del spec  # the images have a size of their own
        folder = self._find(data_dir)
        if folder is None:
            try:
                download.download(self.torchvision_name, cache_folder())
            except ExportError as error:
                raise MissingDataset(self._advice(str(error), data_dir)) from error
            folder = self._find(data_dir)
        if folder is None:
            raise MissingDataset(self._advice("the download did not hold the expected files", data_dir))
        dataset: Dataset = self.reader.load(folder, self.name, self.labels, self.licence)
        return replace(dataset, family=self.family)

    def availability(self, data_dir: Path | None) -> str:
        folder = self._find(data_dir)
        if folder is not None:
            return f"found in {folder}"
        package = f", package {self.package}" if self.package else ""
        return f"not here: --data-dir DIR with {self.files} in DIR/{self.folders[0]}{package}, or a download"

    def _find(self, data_dir: Path | None) -> Path | None:
        for folder in self._places(data_dir):
            if self.reader.is_present(folder, self.name):
                return folder
        return None

    def _places(self, data_dir: Path | None) -> Iterator[Path]:
        for root in _roots(data_dir):
            for folder in self.folders:
                yield root / folder

    def _advice(self, reason: str, data_dir: Path | None) -> str:
        places = ", ".join(f"DIR/{folder}" for folder in self.folders if folder != ".")
        ways = [
            f"--data-dir DIR or {DATA_VARIABLE}=DIR, with {self.files} (plain, .gz or .xz) in {places} or DIR",
            *([f"the Debian package {self.package}"] if self.package else []),
            f"a machine with internet access: torchvision downloads it into {cache_folder()}",
            "or use --dataset sample: 7,000 images of MNIST that come with Covey (for networks of 28x28 grey)",
        ]
        searched = ", ".join(str(root) for root in _roots(data_dir))
        return "\n".join(
            [
                (
                    f"data set {self.name} is not on this machine (looked below {searched}) and was not downloaded: "
                    f"{reason}"
                ),
                "Ways to provide it:",
                *(f"  - {way}" for way in ways),
            ]
        )


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/covey, by default ~/.cache/covey."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covey"


def _roots(data_dir: Path | None) -> list[Path]:
    configured = data_dir or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if configured is not None and not configured.is_dir():
        raise MissingDataset(f"the folder of data sets {configured} (--data-dir or {DATA_VARIABLE}) does not exist")
    return [*([configured] if configured else []), _DISTRIBUTION, cache_folder()]
