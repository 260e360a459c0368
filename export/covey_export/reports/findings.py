"""Owns all numbers of a report: computed once, kept in report.json, drawn elsewhere.

A comparison reads them back, so that it needs neither the checkpoint nor the data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_export import environment, verification_record
from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Labels
from covey_export.errors import ReportFailed
from covey_export.evaluation import accuracy
from covey_export.networks import ImageShape, Network
from covey_export.reports import calibration
from covey_export.reports.calibration import Bin, Calibration
from covey_export.reports.progress import describe_normalisation
from covey_export.training.augmentation import NONE
from covey_proto import layout
from covey_reports.language import say

FILE = "report.json"
PYTORCH_PRECISION = "float32"
FORMAT = 1  # of report.json; another one is refused with advice


@dataclass(frozen=True)
class Verified:
    """What a report needs of verification.json, see covey_export.verification_record.Verification."""

    images: int
    torch_accuracy: float
    onnxruntime_accuracy: float
    largest_difference: float
    disagreements: int
    tolerance: float
    versions: dict[str, str]
    date: str
    precision: str = PYTORCH_PRECISION
    speed: dict[str, Any] | None = None  # as covey_export.quantization.timing.Speed; None: not measured
    calibration: dict[str, float] | None = None  # as covey_export.examination.temperature.Scaling; None: as trained
    unknown: dict[str, Any] | None = None  # as covey_export.examination.unknown.Threshold; None: it has none
    embedding: dict[str, Any] | None = None  # as covey_export.embedding.Comparison; None: the file publishes none
    made_from: str = ""  # the digest of the checkpoint

    @property
    def is_variant(self) -> bool:
        """Whether the file computes in another precision than the network was trained for."""
        return self.precision != PYTORCH_PRECISION


@dataclass(frozen=True)
class Findings:
    """What is known of one published version. Accuracies are 0 to 1, on the whole test set, by PyTorch in float32,
    for a variant in another precision by its file; `verification` has what both gave. A class
    without test images has the accuracy None.
    """

    model: str
    version: int
    network: str
    source: str  # the paper or tutorial
    dataset: str
    licence: str  # of the data
    images_digest: str  # two reports with the same one are of the same images
    train_images: int
    test_images: int
    labels: tuple[str, ...]
    image_shape: ImageShape
    resize: str  # how encoded images come to that shape
    recipe: str
    recipe_description: str
    seed: int
    started_from: str  # empty: fresh weights
    seconds: float  # of training
    history: tuple[Epoch, ...]
    parameters: int
    size_bytes: int  # of model.onnx
    machine: str  # on which the report was made
    notes: tuple[str, ...]  # what was noticed while the data set was read
    verification: Verified
    accuracy: float
    class_accuracy: tuple[float | None, ...]
    class_images: tuple[int, ...]  # test images of each class
    confusion: tuple[tuple[int, int, int], ...]  # (true class, predicted class, test images), where there are any
    mistakes: tuple[int, ...]  # places of the test images that got a wrong class
    calibration: Calibration
    file_digest: str = ""  # the SHA-256 of model.onnx; reports of earlier versions lack it

    @property
    def title(self) -> str:
        return say("{model} version {version}", model=self.model, version=self.version)

    def confusion_matrix(self) -> NDArray[np.int64]:
        """`[K, K]`: rows are the true classes, columns the predicted ones."""
        matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for true, predicted, images in self.confusion:
            matrix[true, predicted] = images
        return matrix

    def confused_pairs(self) -> list[tuple[int, int, int]]:
        """The wrong entries of `confusion`, the most frequent first."""
        wrong = [entry for entry in self.confusion if entry[0] != entry[1]]
        return sorted(wrong, key=lambda entry: (-entry[2], entry[0], entry[1]))

    def to_json(self) -> str:
        """The content of report.json."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"


def find(
    network: Network,
    checkpoint: Checkpoint,
    dataset: Dataset,
    folder: Path,
    probabilities: NDArray[np.float32],
    parameters: int,
) -> Findings:
    """The numbers of the version in `folder` (`models/NAME/VERSION`), of which `probabilities` `[N, K]` are the
    answers to the test images. Raises ReportFailed where the folder is no verified version.
    """
    if not layout.is_version(folder.name):
        raise ReportFailed(f"{folder} is no version of a model; expected a folder models/NAME/VERSION")
    found = accuracy(probabilities, dataset.test_labels)
    predicted = probabilities.argmax(axis=1)
    return Findings(
        model=folder.parent.name,
        version=int(folder.name),
        network=network.name,
        source=network.source,
        dataset=dataset.name,
        licence=dataset.licence,
        images_digest=dataset.digest,
        train_images=len(dataset.train_images),
        test_images=len(dataset.test_images),
        labels=dataset.labels,
        image_shape=dataset.image_shape,
        resize=f"{_describe_resize(network)}; {describe_normalisation(dataset.image_shape[2], checkpoint.recipe)}",
        recipe=checkpoint.recipe.name,
        recipe_description=f"{checkpoint.recipe.describe()}; images changed by: "
        f"{(checkpoint.recipe.augmentation or NONE).describe()}",
        seed=checkpoint.seed,
        started_from=checkpoint.started_from,
        seconds=checkpoint.seconds,
        history=checkpoint.history,
        parameters=parameters,
        size_bytes=(folder / layout.FILE_NAME).stat().st_size,
        machine=environment.machine(),
        notes=dataset.notes,
        verification=read_verification(folder),
        accuracy=found.overall,
        class_accuracy=found.per_class,
        class_images=tuple(np.bincount(dataset.test_labels, minlength=len(dataset.labels)).tolist()),
        confusion=_count_confusion(predicted, dataset.test_labels),
        mistakes=tuple(np.flatnonzero(predicted != dataset.test_labels).tolist()),
        calibration=calibration.measure(probabilities, dataset.test_labels),
        file_digest=hashlib.sha256((folder / layout.FILE_NAME).read_bytes()).hexdigest(),
    )


def read(folder: Path) -> Findings:
    """The numbers in the version folder's report.json. Raises ReportFailed."""
    path = folder / FILE
    if not path.is_file():
        raise ReportFailed(f"{path} does not exist; write it with `covey report`")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError("of another format")
        fields["history"] = tuple(Epoch.from_fields(epoch) for epoch in fields["history"])
        fields["verification"] = _verified(fields["verification"])
        bins = tuple(Bin(**part) for part in fields["calibration"].pop("bins"))
        fields["calibration"] = Calibration(bins=bins, **fields["calibration"])
        fields["confusion"] = tuple((true, predicted, images) for true, predicted, images in fields["confusion"])
        for name in ("labels", "image_shape", "class_accuracy", "class_images", "mistakes", "notes"):
            fields[name] = tuple(fields[name])
        return Findings(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportFailed(
            f"{path} is no report of this version of Covey, or it is damaged; write it anew with `covey report`"
        ) from error


def read_verification(folder: Path) -> Verified:
    """What verification.json in a version's folder says. Raises ReportFailed."""
    path = folder / verification_record.FILE
    try:
        return _verified(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ReportFailed(
            f"{path} does not exist; publish the model with covey convert, which verifies it too"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ReportFailed(
            f"{path} was not written by this version of Covey, or it is damaged; verify the model once more with "
            f"covey verify"
        ) from error


def _count_confusion(predicted: Labels, labels: Labels) -> tuple[tuple[int, int, int], ...]:
    pairs, counts = np.unique(np.stack([labels, predicted], axis=1), axis=0, return_counts=True)
    return tuple(
        (int(true), int(guess), int(count))
        for (true, guess), count in zip(pairs.tolist(), counts.tolist(), strict=True)
    )


def _verified(fields: Mapping[str, Any]) -> Verified:
    known = {field.name for field in dataclasses.fields(Verified)}
    return Verified(**{name: value for name, value in fields.items() if name in known})


def _describe_resize(network: Network) -> str:
    spec = network.spec
    cut = "" if spec.crop == 1.0 else f", the inner {spec.crop:.1%} of each side"
    on = f"transparency over {network.background}" if network.background else "alpha dropped"
    return f"{spec.resize.value.replace('_', ' ')}{cut}, {on}"
