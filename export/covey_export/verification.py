"""Whether a model file computes what PyTorch computes, seen through the very code that will serve it.

`covey_server.engine` runs the file, `covey_server.images` reads encoded images, `covey_server.model_file` and
`covey_server.golden` do what the server does at every load.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata as distributions
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import covey_proto
from covey_export import atomic_files
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images
from covey_export.errors import VerificationFailed
from covey_export.evaluation import accuracy, predict
from covey_export.served_model import ServedModel
from covey_server import golden, images, model_file
from covey_server.devices import choose
from covey_server.engine import Engine
from covey_server.errors import CoveyServerError

FILE = "verification.json"
BATCH_SIZES = (1, 2, 3, 7, 64)
_IMAGES_PER_BATCH_SIZE = 128
_WHOLE_SET_BATCH = 64
_PNG_IMAGES = 16

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Verification:
    """What came out, on the whole test set. Accuracies are 0 to 1; `problems` is empty where all is well."""

    images: int
    torch_accuracy: float
    onnxruntime_accuracy: float
    per_class_accuracy: dict[str, float | None]
    largest_difference: float  # of a probability, absolute, over all batch sizes
    difference_by_batch_size: dict[int, float]
    golden_difference: float
    disagreements: int  # images whose most probable class differs
    tolerance: float
    png_images: int  # brought through PNG and the server's decoder, pixel for pixel and answer for answer
    problems: tuple[str, ...]
    versions: dict[str, str]
    date: str

    def require_passed(self, path: Path) -> None:
        """Raises VerificationFailed with all that is wrong."""
        if self.problems:
            raise VerificationFailed(f"{path} does not compute what PyTorch computes: {'; '.join(self.problems)}")


def verify(path: Path, model: ServedModel, dataset: Dataset) -> Verification:
    """Holds the model file at `path` against `model`, on the CPU. Differences are reported, not raised.

    Raises VerificationFailed where the server would refuse the file or could not run it.
    """
    try:
        engine = Engine(path, choose("cpu"), threads=1)
        description = model_file.describe(engine)
        golden_difference = golden.check(engine, description.golden)
        return _compare(engine, description, golden_difference, model, dataset)
    except CoveyServerError as error:
        raise VerificationFailed(f"the server refuses the model: {error}") from error


def write(verification: Verification, folder: Path) -> None:
    """Writes the folder's verification.json in one step. Raises OSError."""
    atomic_files.write_text(folder / FILE, json.dumps(dataclasses.asdict(verification), indent=2) + "\n")


def _compare(
    engine: Engine,
    description: model_file.Description,
    golden_difference: float,
    model: ServedModel,
    dataset: Dataset,
) -> Verification:
    if (engine.input_shape, description.labels) != (dataset.image_shape, dataset.labels):
        raise VerificationFailed(
            f"the model takes {engine.input_shape} and knows {', '.join(description.labels)}; "
            f"{dataset.name} has {dataset.image_shape} and {', '.join(dataset.labels)}"
        )
    tolerance = description.golden.tolerance
    expected = predict(model, torch.tensor(dataset.test_images))
    found = _run(engine, dataset.test_images, _WHOLE_SET_BATCH)
    few = dataset.test_images[:_IMAGES_PER_BATCH_SIZE]
    differences = {size: _largest_difference(_run(engine, few, size), expected[: len(few)]) for size in BATCH_SIZES}
    largest_difference = float(np.max([_largest_difference(found, expected), *differences.values()]))
    torch_choice, choice = expected.argmax(axis=1), found.argmax(axis=1)
    disagreements = np.flatnonzero(torch_choice != choice)
    # Where PyTorch itself sees a tie, either answer is right.
    margins = expected[disagreements, torch_choice[disagreements]] - expected[disagreements, choice[disagreements]]

    problems = []
    if not largest_difference <= tolerance:  # so written, a difference that is no number is a problem too
        problems.append(f"probabilities differ by up to {largest_difference:.2g}, allowed are {tolerance:.2g}")
    if (margins > tolerance).any():
        problems.append(f"{int((margins > tolerance).sum())} test images get another class without being a tie")
    problems += _png_problems(engine, description.input, dataset.test_images[:_PNG_IMAGES])

    result = accuracy(found, dataset.test_labels)
    return Verification(
        images=len(dataset.test_images),
        torch_accuracy=accuracy(expected, dataset.test_labels).overall,
        onnxruntime_accuracy=result.overall,
        per_class_accuracy=dict(zip(dataset.labels, result.per_class, strict=True)),
        largest_difference=largest_difference,
        difference_by_batch_size=differences,
        golden_difference=golden_difference,
        disagreements=len(disagreements),
        tolerance=tolerance,
        png_images=min(_PNG_IMAGES, len(dataset.test_images)),
        problems=tuple(problems),
        versions=versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def versions() -> dict[str, str]:
    """Of all that the figures depend on."""
    wanted = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "pillow")
    installed = {distribution.name.lower(): distribution.version for distribution in distributions.distributions()}
    return {
        "covey": covey_proto.__version__,
        "python": platform.python_version(),
        **{name: installed[name] for name in wanted if name in installed},
    }


def _run(engine: Engine, pixels: Images, batch_size: int) -> Probabilities:
    return np.concatenate(
        [engine.run(pixels[start : start + batch_size]) for start in range(0, len(pixels), batch_size)]
    )


def _largest_difference(found: Probabilities, expected: Probabilities) -> float:
    return float(np.abs(found - expected).max())


def _png_problems(engine: Engine, spec: images.InputSpec, pixels: Images) -> list[str]:
    """What is wrong when images come as PNG files instead of pixels: nothing may be."""
    decoded = np.stack([images.decode(_png(image), spec) for image in pixels])
    if not np.array_equal(decoded, pixels):
        return ["PNG files of test images do not decode to the same pixels"]
    if not np.array_equal(engine.run(decoded), engine.run(pixels)):
        return ["PNG files of test images get other answers than their pixels"]
    return []


def _png(image: Images) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
