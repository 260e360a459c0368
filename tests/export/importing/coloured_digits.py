"""A data set on which every usual mistake costs accuracy, made of the sample's digits, and a network trained on it
through covey-export, with its normalisation outside of the exported file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from covey_export import checkpoint as checkpoints
from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.networks import NETWORKS, Task

LABELS = ("warm two", "cold two", "dim warm two", "dim cold two", "warm five", "cold five", "dim warm five",
          "dim cold five")  # fmt: skip
_WARM, _COLD = np.array([1.0, 0.55, 0.2]), np.array([0.2, 0.55, 1.0])
_SIDE, _WIDTH = 32, 56


def write(sample: Dataset, folder: Path, *, test: bool, per_class: int) -> Path:
    """One folder per class, of PNG files that are wider than high: the digit that counts is in the middle, others of
    other colours are beside it."""
    images, digits = (sample.test_images, sample.test_labels) if test else (sample.train_images, sample.train_labels)
    random = np.random.default_rng(1 if test else 2)
    for place, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        of_digit = images[digits == (2 if place < 4 else 5)]
        for number in range(per_class):
            canvas = np.zeros((_SIDE, _WIDTH, 3)) + random.uniform(0.0, 0.15)
            for left, is_beside in ((-6, True), (34, True), (12, False)):
                digit = of_digit[number % len(of_digit)] if not is_beside else images[random.integers(len(images))]
                is_cold, is_dim = bool(place & 1), bool(place & 2)
                if is_beside:
                    is_cold, is_dim = not is_cold, not is_dim
                colour = (_COLD if is_cold else _WARM) * (0.55 if is_dim else 1.0) * random.uniform(0.85, 1.0)
                _draw(canvas, digit[:, :, 0] / 255, left, colour)
            canvas += random.normal(0, 0.03, canvas.shape)
            Image.fromarray((255 * canvas.clip(0, 1)).astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


def _draw(canvas: np.ndarray, digit: np.ndarray, left: int, colour: np.ndarray) -> None:
    first, last = max(0, left), min(_WIDTH, left + 28)
    part = digit[:, first - left : last - left, None]
    place = canvas[2:30, first:last]
    place[:] = place * (1 - part) + part * colour


def train(folder: Path, checkpoints_folder: Path, mean: str, std: str) -> None:
    """cifar-net on the folder, seen by its centre."""
    arguments = ["train", "cifar-net", "--dataset", f"folder:{folder}", "--checkpoint", str(checkpoints_folder),
                 "--recipe", "best", "--epochs", "6", "--augment", "none", "--resize", "center_crop", "--precision",
                 "float32", "--mean", mean, "--std", std, "--device", "cpu"]  # fmt: skip
    assert main(arguments) == 0


def export(checkpoints_folder: Path, path: Path, *, bgr: bool = False, nhwc: bool = False) -> Path:
    """The network alone, as a user of PyTorch exports it: normalised float32 in, logits out."""
    checkpoint = checkpoints.load_finished(checkpoints_folder)
    module = NETWORKS["cifar-net"].build(Task((_SIDE, _SIDE, 3), len(LABELS), checkpoint.recipe.dropout))
    checkpoint.load_weights_into(module, trained=True)
    wrapped = _Turned(module, bgr=bgr, nhwc=nhwc).eval()
    example = torch.zeros((2, _SIDE, _SIDE, 3) if nhwc else (2, 3, _SIDE, _SIDE))
    torch.onnx.export(
        wrapped, (example,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
        external_data=False,
    )  # fmt: skip
    return path


class _Turned(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, *, bgr: bool, nhwc: bool) -> None:
        super().__init__()
        self.network, self.bgr, self.nhwc = network, bgr, nhwc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        planes = images.permute(0, 3, 1, 2) if self.nhwc else images
        result: torch.Tensor = self.network(planes.flip(1) if self.bgr else planes)
        return result
