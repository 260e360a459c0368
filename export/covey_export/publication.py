"""A checkpoint to a verified model version in the models folder: all of it, or nothing.

Between the two: onnx_graph.py, model_info.py and sealing.py make the file (quantization/ that of variants),
verification.py compares it with PyTorch, model_versions.py owns the folder.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covey_export import model_info, model_versions, sealing, verification, verification_record, version_changes
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images
from covey_export.errors import ConversionFailed, VerificationFailed
from covey_export.model_versions import NewVersion
from covey_export.quantization import int8, timing, variant
from covey_export.quantization.precision import Precision
from covey_export.reports.progress import ProgressReport, describe_input, describe_labels
from covey_export.trained_model import TrainedModel
from covey_export.verification_record import Verification
from covey_proto import atomic_files, layout
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.errors import CoveyServerError
from covey_server.inference import model_file
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine


@dataclass(frozen=True)
class Published:
    """A model version that passed."""

    path: Path  # of model.onnx
    info: ModelInfo
    verification: Verification


_NO_BETTER_THAN_CHANCE = 1.1  # times the share that guessing gets


def publish(
    trained: TrainedModel,
    models: Path,
    name: str,
    report: ProgressReport,
    *,
    precision: Precision = Precision.FLOAT32,
    min_accuracy: float = 0.0,
) -> Published:
    """Converts, verifies, and publishes as the next free version of `name` in `models`, where its accuracy on the test
    images is `min_accuracy` (0 to 1) or more. In another precision than float32 the model gets a name of its own
    (`NAME-int8`, `NAME-float16`), and what it costs in accuracy and gains in speed is said.

    Raises InvalidCheckpoint, ConversionFailed, VerificationFailed; the models folder is then as it was.
    """
    name = precision.model_name(name)
    is_variant = precision is not Precision.FLOAT32
    with _new_version(models, name) as new:
        path = new.folder / layout.FILE_NAME
        report.line(
            f"converting {trained.network.name}, trained on {trained.dataset.name}, to {name} version {new.version}"
        )
        if not is_variant:
            report.line(f"input   {describe_input(trained.network, trained.checkpoint.recipe)}")
            report.line(f"labels  {describe_labels(trained.checkpoint.labels)}")
        with report.doing("converting"):
            info = model_info.describe(trained, name, new.version)
            data = float32 = sealing.seal(trained.graph, info)
            if is_variant:
                with _explained("temporary files", Path(tempfile.gettempdir())):
                    data = variant.make(float32, info, precision, _calibration(trained.dataset))
        atomic_files.write_bytes(path, data)
        report.line("verifying it with the server's own code")
        with report.doing("verifying"):
            found = verification.verify(path, trained)
        if is_variant and not found.problems:
            report.line("measuring its speed beside float32")
            with report.doing("measuring"):
                found = _with_speed(found, path, float32, trained.dataset)
        return _publish(new, trained, info, found, report, min_accuracy)


def verify(trained: TrainedModel, models: Path, name: str, version: int | None, report: ProgressReport) -> Verification:
    """Verifies a published version (by default the highest) once more and renews its verification.json. A variant's
    speed is measured once more, too.

    Raises InvalidCheckpoint, MissingModel, VerificationFailed, OSError.
    """
    folder = model_versions.find(models, name, version)
    path = folder / layout.FILE_NAME
    trained = trained.as_described(_described(path))
    with report.doing("verifying"):
        found = verification.verify(path, trained)
    if found.is_variant:
        with report.doing("measuring its speed beside float32"):
            info = model_info.describe(trained, name, int(folder.name))
            found = _with_speed(found, path, sealing.seal(trained.graph, info), trained.dataset)
    found = dataclasses.replace(
        found, made_from=verification_record.made_from(folder), test_set=trained.dataset.test_digest
    )
    report.verification(found)
    if found.problems:
        report.line("the checkpoint may have been trained anew since; convert publishes it as a version of its own")
    found.require_passed(path)  # before the record of the right checkpoint is replaced
    verification_record.write(found, folder)
    return found


def verify_made_from(
    trained: TrainedModel, models: Path, name: str, report: ProgressReport, *, min_accuracy: float = 0.0
) -> Published | None:
    """The highest version of `name`, verified once more, where it was made from this very checkpoint; else None.

    Raises as `verify` does, and VerificationFailed where its accuracy is below `min_accuracy`.
    """
    published = model_versions.versions(models / name)
    if not published or verification_record.made_from(models / name / str(published[-1])) != trained.checkpoint.digest:
        return None
    path = models / name / str(published[-1]) / layout.FILE_NAME
    info = _described(path)
    if trained.as_described(info) is not trained:
        return None
    report.line(
        f"{name} version {published[-1]} was made from this very checkpoint: it is verified once more; "
        f"`covey convert` would publish it again, --restart with another --seed trains another one"
    )
    found = verify(trained, models, name, published[-1], report)
    if found.onnxruntime_accuracy < min_accuracy:
        raise VerificationFailed(
            f"{_too_inaccurate(name, found, min_accuracy)}; it was published before, as version {published[-1]}"
        )
    return Published(path, info, found)


def _described(path: Path) -> ModelInfo:
    """What a published file says of itself. Raises VerificationFailed where the server would refuse it."""
    try:
        return model_file.describe(Engine(path, choose("cpu"), threads=1)).info
    except CoveyServerError as error:
        raise VerificationFailed(f"the server refuses the model: {error}") from error


def _calibration(dataset: Dataset) -> Images:
    return int8.calibration_images(dataset.train_images, dataset.train_labels)


def _with_speed(found: Verification, path: Path, float32: bytes, dataset: Dataset) -> Verification:
    """With the speed of the variant at `path`, measured beside the `float32` model file."""
    with tempfile.TemporaryDirectory(prefix="covey-export-") as scratch:
        beside = Path(scratch, layout.FILE_NAME)
        beside.write_bytes(float32)
        speed = timing.compare(beside, path, Precision(found.precision), dataset.test_images)
    return dataclasses.replace(found, speed=speed)


@contextmanager
def _new_version(models: Path, name: str) -> Iterator[NewVersion]:
    """The folder of a version to come. Raises ConversionFailed where it cannot be written to."""
    with _explained("the model", models), NewVersion(models, name) as new:
        yield new


@contextmanager
def _explained(what: str, folder: Path) -> Iterator[None]:
    """Raises ConversionFailed, with the folder that is to blame, where writing into it fails."""
    try:
        yield
    except OSError as error:
        raise ConversionFailed(
            f"cannot write {what} into {folder}: {error.strerror or error}; nothing was left there"
        ) from error


def _too_inaccurate(name: str, found: Verification, min_accuracy: float) -> str:
    return (
        f"{name} has an accuracy of {found.onnxruntime_accuracy:.2%} on the {found.images:,} test images, "
        f"--min-accuracy asks for {min_accuracy:.2%}"
    )


def _publish(
    new: NewVersion,
    trained: TrainedModel,
    info: ModelInfo,
    found: Verification,
    report: ProgressReport,
    min_accuracy: float,
) -> Published:
    """The version with its verification, visible to servers. Raises VerificationFailed where it did not pass."""
    found.require_passed(new.folder / layout.FILE_NAME)
    if found.onnxruntime_accuracy < min_accuracy:
        raise VerificationFailed(f"{_too_inaccurate(info.name, found, min_accuracy)}; it is not published")
    if found.onnxruntime_accuracy < _NO_BETTER_THAN_CHANCE / len(info.labels):
        report.line(
            f"warning: {found.onnxruntime_accuracy:.2%} is no better than guessing among {len(info.labels):,} classes. "
            f"Trained here: give it more epochs. For given weights, --mean and --std (of pixels of 0..1), --pixels or "
            f"the order of --labels may be wrong"
        )
    found = dataclasses.replace(found, made_from=trained.checkpoint.digest, test_set=trained.dataset.test_digest)
    served = verification_record.accuracy_of_latest(new.parent, found.test_set)
    if served is not None and found.onnxruntime_accuracy < served:
        report.line(
            f"warning: the version of {info.name} before has {served:.2%} on the same test images, this one "
            f"{found.onnxruntime_accuracy:.2%}; servers give callers this one from now on (--min-accuracy refuses such)"
        )
    verification_record.write(found, new.folder)
    changes = [*version_changes.lines(new, info)]
    path = new.publish() / layout.FILE_NAME
    report.verification(found)
    for line in changes:
        report.line(line)
    report.line(f"published {path}")
    return Published(path, info, found)
