"""The data set `sample`: a class-balanced part of MNIST that comes with the package and needs no network.

600 training and 100 test images of each digit, drawn by make_sample.py. Licence and attribution stand beside
the file, in sample-licence.txt.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_server.images.pixels import InputSpec

FILE = "sample.npz"
LABELS = tuple("0123456789")
LICENCE = "CC BY-SA 3.0, Yann LeCun, Corinna Cortes, Christopher J. C. Burges"


class Sample(Entry):
    """7,000 images of MNIST."""

    name = "sample"
    image_shape = (28, 28, 1)
    summary = "6,000 + 1,000 digits of MNIST, the same number of each"
    family = Family.SIGNS

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        del spec, data_dir
        with (
            resources.files(__package__).joinpath(FILE).open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return Dataset(
                self.name,
                LABELS,
                arrays["train_images"],
                arrays["train_labels"].astype(np.int64),
                arrays["test_images"],
                arrays["test_labels"].astype(np.int64),
                LICENCE,
                family=self.family,
            )

    def availability(self, data_dir: Path | None) -> str:
        return "comes with Covey"
