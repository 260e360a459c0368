"""The data set `demo`: images of 5x5 small numbers, for the convolution that is computed by hand (conv-demo).

The label is the corner whose surroundings answer the kernel most, computed here with NumPy alone: a network that
convolves, pools and chooses rightly has every answer right. Made anew each time, always the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covey_export.datasets.dataset import Dataset, Images, Labels
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_server.images.pixels import InputSpec

LABELS = ("top left", "top right", "bottom left", "bottom right")
# The example that the network's test computes by hand.
EXAMPLE = ((3, 3, 2, 1, 0), (2, 3, 2, 1, 0), (3, 3, 2, 1, 0), (4, 3, 2, 1, 0), (1, 3, 2, 1, 0))

_KERNEL = np.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]])
_TRAIN, _TEST = 100, 400
_MAX_NUMBER = 4


class Demo(Entry):
    """500 images drawn at random, and the worked example among the test images."""

    name = "demo"
    image_shape = (5, 5, 1)
    summary = "5x5 numbers from 0 to 4, for conv-demo"
    family = Family.NUMBERS

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        del spec, data_dir
        images = np.random.default_rng(0).integers(0, _MAX_NUMBER + 1, (_TRAIN + _TEST, 5, 5, 1), dtype=np.uint8)
        images[_TRAIN] = np.array(EXAMPLE, np.uint8)[..., None]
        labels = _strongest_corner(images)
        return Dataset(
            self.name,
            LABELS,
            images[:_TRAIN],
            labels[:_TRAIN],
            images[_TRAIN:],
            labels[_TRAIN:],
            licence="Apache-2.0, made by Covey",
            family=self.family,
        )

    def availability(self, data_dir: Path | None) -> str:
        return "comes with Covey"


def _strongest_corner(images: Images) -> Labels:
    """The index of the largest of the four pooled sums; of equal ones the first."""
    numbers = images[..., 0].astype(np.int64)
    sums = np.stack(
        [
            [(numbers[:, row : row + 3, column : column + 3] * _KERNEL).sum((1, 2)) for column in range(3)]
            for row in range(3)
        ]
    )
    # With padding 1 the pool of 2x2 and stride 2 takes place 0 alone, then places 1 and 2 together.
    parts = (slice(0, 1), slice(1, 3))
    corners = [sums[rows, columns].max((0, 1)) for rows in parts for columns in parts]
    labels: Labels = np.stack(corners).argmax(axis=0)
    return labels
