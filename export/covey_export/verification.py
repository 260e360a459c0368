"""Whether a model file computes what PyTorch computes, seen through the very code that will serve it.

A float32 file must give PyTorch's probabilities. A variant in another precision may not lose more than a little of
PyTorch's accuracy, and must give the same answers whatever the batch.

The file is run by the server's own `engine`, encoded images are read by its `pixels`, and `model_file` and `golden`
do what the server does at every load.
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
from covey_export import atomic_files, model_versions
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images
from covey_export.errors import VerificationFailed
from covey_export.evaluation import Accuracy, accuracy, predict
from covey_export.quantization.precision import Precision
from covey_export.quantization.timing import Speed
from covey_export.served_model import ServedModel
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.images import pixels
from covey_server.inference import golden, model_file
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine

FILE = "verification.json"
BATCH_SIZES = (1, 2, 3, 7, 64)
MAX_ACCURACY_LOSS = 0.005  # of a variant, as a share of the test set; of few images, one may always be lost
LISTED_DISAGREEMENTS = 20
_IMAGES_PER_BATCH_SIZE = 128
_WHOLE_SET_BATCH = 64
_PNG_IMAGES = 16

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Disagreement:
    """A test image whose most probable class is another one in the file. `margin` is by how much PyTorch holds its
    own class for more probable than the file's."""

    image: int  # its place in the test set
    torch_class: str
    file_class: str
    margin: float


@dataclass(frozen=True)
class Verification:
    """What came out, on the whole test set. Accuracies are 0 to 1; `problems` is empty where all is well."""

    precision: str  # what the file computes in
    images: int
    torch_accuracy: float
    onnxruntime_accuracy: float
    accuracy_lost: float  # the first less the second
    per_class_accuracy: dict[str, float | None]
    largest_difference: float  # of a probability, absolute, over all batch sizes
    difference_by_batch_size: dict[int, float]
    difference_between_batch_sizes: float  # of the same image's probabilities, absolute, by the file alone
    golden_difference: float
    disagreements: int  # images whose most probable class differs
    first_disagreements: tuple[Disagreement, ...]  # the first LISTED_DISAGREEMENTS of them
    tolerance: float
    png_images: int  # brought through PNG and the server's decoder, pixel for pixel and answer for answer
    problems: tuple[str, ...]
    versions: dict[str, str]
    date: str
    made_from: str = ""  # the checkpoint: its digest
    speed: Speed | None = None  # of a variant, beside float32
    test_set: str = ""  # the digest of the test images and labels

    def require_passed(self, path: Path) -> None:
        """Raises VerificationFailed with all that is wrong."""
        if not self.problems:
            return
        found = "; ".join(self.problems)
        if self.precision == Precision.FLOAT32.value:
            raise VerificationFailed(f"{path} does not compute what PyTorch computes: {found}")
        raise VerificationFailed(
            f"{path} is not good enough in {self.precision}: {found}. Serve this network in float32, or train it "
            f"further: rounding costs less where its answers are clear"
        )

    def lines(self) -> list[str]:
        """What to tell people."""
        if self.precision == Precision.FLOAT32.value:
            first = (
                f"verified on {plural(self.images, 'test image')}: accuracy {self.onnxruntime_accuracy:.2%} "
                f"(PyTorch {self.torch_accuracy:.2%}), largest difference {self.largest_difference:.1e} "
                f"(allowed {self.tolerance:.0e}), top-1 disagreements {self.disagreements}"
            )
            return [first, *self._disagreement_lines()]
        first = (
            f"verified on {plural(self.images, 'test image')} in {self.precision}: accuracy "
            f"{self.onnxruntime_accuracy:.2%} (PyTorch {self.torch_accuracy:.2%}, {_points(self.accuracy_lost)}, "
            f"allowed {MAX_ACCURACY_LOSS * 100:.2f}), largest difference {self.largest_difference:.1e}, "
            f"top-1 disagreements {self.disagreements}"
        )
        return [first, *([self.speed.sentence] if self.speed else [])]

    def _disagreement_lines(self) -> list[str]:
        lines = [
            f"  test image {each.image}: {each.torch_class} in PyTorch, {each.file_class} in the file, "
            f"margin {each.margin:.1e}"
            for each in self.first_disagreements
        ]
        more = self.disagreements - len(lines)
        return [*lines, f"  and {more:,} more"] if more else lines


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
    atomic_files.write_text(
        folder / FILE, json.dumps(dataclasses.asdict(verification), indent=2, allow_nan=False) + "\n"
    )


def labels_of_latest(parent: Path) -> tuple[str, ...] | None:
    """The labels of the highest published version in a model's folder; None where there is none, or it does not say."""
    published = model_versions.versions(parent)
    said = _read(parent / str(published[-1])).get("per_class_accuracy") if published else None
    return tuple(said) if isinstance(said, dict) else None


def accuracy_of_latest(parent: Path, test_set: str) -> float | None:
    """The accuracy of the highest published version in a model's folder; None where there is none, or where it was
    measured on other test images."""
    published = model_versions.versions(parent)
    said = _read(parent / str(published[-1])) if published else {}
    accuracy = said.get("onnxruntime_accuracy")
    return accuracy if said.get("test_set") == test_set and isinstance(accuracy, float) else None


def made_from(folder: Path) -> str:
    """The digest of the checkpoint that a version's file was made from; empty where its record does not say."""
    return str(_read(folder).get("made_from", ""))


def _read(folder: Path) -> dict[str, object]:
    """What the folder's verification.json says: nothing where there is none, or it is damaged."""
    try:
        said = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _compare(
    engine: Engine,
    description: model_file.Description,
    golden_difference: float,
    model: ServedModel,
    dataset: Dataset,
) -> Verification:
    if (engine.input_shape, description.labels) != (dataset.image_shape, dataset.labels):
        raise VerificationFailed(
            f"the model takes {engine.input_shape} and knows {listed(description.labels)}; "
            f"{dataset.name} has {dataset.image_shape} and {listed(dataset.labels)}"
        )
    precision = Precision.of_file(description.info.build.precision)
    tolerance = description.golden.tolerance
    expected = predict(model, torch.tensor(dataset.test_images))
    found = _run(engine, dataset.test_images, _WHOLE_SET_BATCH)
    few = dataset.test_images[:_IMAGES_PER_BATCH_SIZE]
    by_size = {size: _run(engine, few, size) for size in BATCH_SIZES}
    differences = {size: _largest_difference(each, expected[: len(few)]) for size, each in by_size.items()}
    between_sizes = max(_largest_difference(each, found[: len(few)]) for each in by_size.values())
    largest_difference = float(np.max([_largest_difference(found, expected), *differences.values()]))
    result, torch_result = accuracy(found, dataset.test_labels), accuracy(expected, dataset.test_labels)
    disagreements = _disagreements(found, expected, dataset.labels)

    if precision is Precision.FLOAT32:
        problems = _float32_problems(largest_difference, disagreements, tolerance)
    else:
        problems = _variant_problems(result, torch_result, between_sizes, tolerance)
    problems += _png_problems(engine, description.input, dataset.test_images[:_PNG_IMAGES])

    return Verification(
        precision=precision.value,
        images=len(dataset.test_images),
        torch_accuracy=torch_result.overall,
        onnxruntime_accuracy=result.overall,
        accuracy_lost=torch_result.overall - result.overall,
        per_class_accuracy=dict(zip(dataset.labels, result.per_class, strict=True)),
        largest_difference=largest_difference,
        difference_by_batch_size=differences,
        difference_between_batch_sizes=between_sizes,
        golden_difference=golden_difference,
        disagreements=len(disagreements),
        first_disagreements=tuple(disagreements[:LISTED_DISAGREEMENTS]),
        tolerance=tolerance,
        png_images=min(_PNG_IMAGES, len(dataset.test_images)),
        problems=tuple(problems),
        versions=versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _disagreements(found: Probabilities, expected: Probabilities, labels: tuple[str, ...]) -> list[Disagreement]:
    torch_choice, choice = expected.argmax(axis=1), found.argmax(axis=1)
    return [
        Disagreement(
            int(image),
            labels[torch_choice[image]],
            labels[choice[image]],
            float(expected[image, torch_choice[image]] - expected[image, choice[image]]),
        )
        for image in np.flatnonzero(torch_choice != choice)
    ]


def _float32_problems(largest_difference: float, disagreements: list[Disagreement], tolerance: float) -> list[str]:
    problems = []
    if not largest_difference <= tolerance:  # `not <=`: NaN is a problem too
        problems.append(f"probabilities differ by up to {largest_difference:.2g}, allowed are {tolerance:.2g}")
    # Where PyTorch itself sees a tie, either answer is right.
    wrong = sum(each.margin > tolerance for each in disagreements)
    if wrong:
        problems.append(
            f"{plural(wrong, 'test image')} {'gets' if wrong == 1 else 'get'} another class without being a tie"
        )
    return problems


def _variant_problems(found: Accuracy, expected: Accuracy, between_sizes: float, tolerance: float) -> list[str]:
    problems = []
    lost = round((expected.overall - found.overall) * found.images)  # images
    if lost > max(1, int(MAX_ACCURACY_LOSS * found.images)):
        problems.append(
            f"accuracy {found.overall:.2%}, in PyTorch {expected.overall:.2%}, on "
            f"{plural(found.images, 'test image')}: "
            f"{_points(expected.overall - found.overall)}, allowed are {MAX_ACCURACY_LOSS * 100:.2f}"
        )
    if not between_sizes <= tolerance:
        problems.append(
            f"the same image's probabilities differ by up to {between_sizes:.2g} between batches of "
            f"{', '.join(map(str, BATCH_SIZES))}, allowed are {tolerance:.2g}"
        )
    return problems


def _points(lost: float) -> str:
    return f"{abs(lost) * 100:.2f} points {'gained' if lost < 0 else 'lost'}"


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


def _png_problems(engine: Engine, spec: pixels.InputSpec, images: Images) -> list[str]:
    """What is wrong when images come as PNG files instead of pixels: nothing may be."""
    decoded = np.stack([pixels.decode(_png(image), spec) for image in images])
    if not np.array_equal(decoded, images):
        return ["PNG files of test images do not decode to the same pixels"]
    if not np.array_equal(engine.run(decoded), engine.run(images)):
        return ["PNG files of test images get other answers than their pixels"]
    return []


def _png(image: Images) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()
