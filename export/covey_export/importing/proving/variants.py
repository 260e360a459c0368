"""Makes int8 and float16 variants of an imported network and compares them with the original's answers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from covey_export import sealing
from covey_export.errors import ConversionFailed, ExportError, ImportFailed
from covey_export.importing.proving import proof
from covey_export.importing.proving.proof import Graph, Probabilities, Proof
from covey_export.importing.proving.samples import Samples
from covey_export.model_versions import NewVersion
from covey_export.quantization import cost, timing, variant
from covey_export.quantization.precision import Precision
from covey_export.quantization.timing import Speed
from covey_proto import atomic_files
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_proto.wording import plural
from covey_server.errors import CoveyServerError
from covey_server.inference import golden, model_file
from covey_server.inference.engine import Engine

FLAGS = {Precision.INT8: "--int8", Precision.FLOAT16: "--float16"}
_PER_CHANNEL_OPSET = 13  # from which on a scale may be one for each channel


@dataclass(frozen=True)
class Variant:
    """A variant's file, and what came out: `changed` images get another label than the original gives them, not
    counting ties; `accuracy` is that on labelled samples."""

    precision: Precision
    info: ModelInfo
    proof: Proof
    changed: int
    accuracy: float | None
    speed: Speed

    def record(self) -> dict[str, object]:
        """The entries of import.json that differ from those of the float32 import."""
        return {
            "largest_difference": self.proof.difference,
            "difference_between_batch_sizes": self.proof.between_batches,
            "tolerance": self.proof.tolerance,
            "labels_equal": not self.changed,
            "other_labels": self.changed,
            "accuracy": self.accuracy,
            "precision": self.precision.value,
            "speed": self.speed.sentence,
        }

    def lines(self, original_accuracy: float | None) -> list[str]:
        """Lines for people. `original_accuracy` is None where the images have no labels."""
        start = f"variant {self.info.name}: "
        if self.accuracy is not None and original_accuracy is not None:
            loss = cost.points(original_accuracy - self.accuracy)
            start += f"accuracy {self.accuracy:.2%} (the original {original_accuracy:.2%}, {loss}), "
        start += f"{self.changed:,} of {plural(self.proof.images, 'image')} get another label, "
        return [f"{start}largest difference of a probability {self.proof.difference:.1e}", self.speed.sentence]


def require_possible(options: argparse.Namespace) -> None:
    """Raises ExportError where int8 is asked for without images that show the range of each layer's values."""
    if Precision.INT8 in options.variants and options.samples is None and options.check is None:
        raise ExportError(
            "--int8 is calibrated on images like those of service: name some with --samples DIR, a hundred are plenty"
        )


def build(
    precision: Precision,
    new: NewVersion,
    graph: Graph,
    info: ModelInfo,
    float32: Path,
    images: Samples,
    expected: Probabilities,
) -> Variant:
    """Writes the variant of the imported file `float32`, which `info` describes, into the folder of a `new` version,
    checked and measured. `expected` `[N, K]` are the original's probabilities for the images.

    Raises ImportFailed where it is not good enough, or cannot be made.
    """
    flag = FLAGS[precision]
    if info.build.precision != Precision.FLOAT32.value:
        raise ImportFailed(
            f"{flag} makes a variant of a float32 network, {info.source.file} computes in {info.build.precision} "
            f"already; omit it. Nothing was published"
        )
    if graph.max_batch:
        raise ImportFailed(
            f"{flag} cannot change a network whose images go through a loop of the graph, since {graph.description}; "
            f"export it with a dynamic batch axis, or omit {flag}. Nothing was published"
        )
    variant_info = ModelInfo()
    variant_info.CopyFrom(info)
    variant_info.name, variant_info.version = new.parent.name, new.version
    path = new.folder / float32.name
    try:
        atomic_files.write_bytes(
            path,
            variant.make(
                _with_required_opset(float32, variant_info, precision), variant_info, precision, images.images
            ),
        )
        engine = Engine(path)
        golden.check(engine, model_file.describe(engine).golden)
        probabilities = proof.run(engine, images.images)
        between = proof.between_batches(engine, images.images)
        speed = timing.compare(float32, path, precision, images.images)
    except (ConversionFailed, CoveyServerError) as error:
        raise ImportFailed(f"{flag}: {error}. Omit {flag}; nothing was published") from error
    changed = int(other_labels(probabilities, expected, variant_info, precision.tolerance).sum())
    accuracy, original_accuracy = images.accuracy(probabilities), images.accuracy(expected)
    problem = cost.batches_problem(between, precision.tolerance, proof.BATCH_SIZES)
    if accuracy is not None and original_accuracy is not None:
        problem = problem or cost.accuracy_problem(
            accuracy, original_accuracy, len(probabilities), reference="of the original", kind="labelled image"
        )
        variant_info.training.test_accuracy = accuracy
    else:
        problem = problem or cost.changes_problem(changed, len(probabilities))
    if problem:
        raise ImportFailed(
            f"{variant_info.name} is not good enough in {precision.value}: {problem}. Omit {flag}; nothing was "
            f"published"
        )
    variant_info.source.difference = proof.difference(probabilities, expected)
    atomic_files.write_bytes(path, sealing.seal(onnx.load(path), variant_info))
    proof_result = Proof(len(probabilities), variant_info.source.difference, precision.tolerance, between)
    return Variant(precision, variant_info, proof_result, changed, accuracy, speed)


def other_labels(
    probabilities: Probabilities, expected: Probabilities, info: ModelInfo, tolerance: float
) -> NDArray[np.bool_]:
    """`[N]`: which images get another answer by `probabilities` `[N, K]` than by `expected`; ties, within the
    tolerance, do not count."""
    if info.answer != ModelInfo.ANSWER_INDEPENDENT:
        return np.asarray(golden.margins(probabilities, expected) > tolerance)
    thresholds = np.array(info.thresholds, np.float32)
    crossed = (probabilities >= thresholds) != (expected >= thresholds)
    return np.asarray((crossed & (np.abs(expected - thresholds) > tolerance)).any(axis=1))


def _with_required_opset(float32: Path, info: ModelInfo, precision: Precision) -> bytes:
    """The file's bytes, in an opset that has the operators that the variant needs."""
    model = onnx.load(float32)
    opset = next(imported.version for imported in model.opset_import if imported.domain in ("", "ai.onnx"))
    if precision is Precision.INT8 and opset < _PER_CHANNEL_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _PER_CHANNEL_OPSET)
        except Exception as error:
            raise ConversionFailed(
                f"onnx cannot convert this network from opset {opset} to {_PER_CHANNEL_OPSET}, which 8-bit weights "
                f"need ({error}); export it with a current exporter"
            ) from error
    return sealing.seal(model, info)
