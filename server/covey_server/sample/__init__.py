"""The model that comes with Covey, for `covey serve` without a model: a LeNet for digits, with an image to try it.

model.onnx was made by `make sample-model`, which trains it on the data set `sample` (covey_export/datasets).
LICENCE.txt is about the images of MNIST in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

NAME = "lenet"
FILE = Path(__file__).with_name("model.onnx")
IMAGE = Path(__file__).with_name("digit.png")
SUMMARY = "lenet, which reads handwritten digits"


def copy_into(models: Path) -> str:
    """Puts the sample into a models folder, as version 1, and returns its name."""
    folder = models / NAME / "1"
    folder.mkdir(parents=True)
    shutil.copyfile(FILE, folder / FILE.name)
    return NAME
