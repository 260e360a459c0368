"""What is recorded of an imported model: its ModelInfo, and import.json for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import covey_proto
from covey_export.importing.proving import proof
from covey_export.importing.proving.original import Original
from covey_export.importing.proving.proof import Graph, Proof
from covey_export.importing.proving.samples import Samples
from covey_export.importing.settings.activation import Answer
from covey_export.importing.settings.choices import Choice
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_proto.tolerances import TOLERANCES
from covey_proto.v1.classifier_pb2 import Build, GoldenSet, ModelInfo, Source, Training

_GOLDEN = 16  # images in the file
_GOLDEN_BYTES = 4 * 2**20


def model_info(
    name: str,
    version: int,
    file: OnnxFile,
    original: Original,
    choice: Choice,
    answer: Answer,
    names: tuple[str, ...],
    graph: Graph,
    images: Samples,
    expected: NDArray[np.float32],
    accuracy: float | None,
) -> ModelInfo:
    """The message that the model's file holds. `expected` `[N, K]` is what the original gives for the images,
    `accuracy` how often that is right (None: the images have no labels)."""
    precision = proof.precision(original.model)
    golden = _golden_places(images, int(np.prod(images.images.shape[1:])))
    signature = original.signature
    info = ModelInfo(
        name=name,
        version=version,
        labels=names,
        input=choice.resizing.message(signature, choice.preset),
        build=Build(
            covey_version=covey_proto.__version__,
            onnx_version=onnx.__version__,
            torch_version=file.versions.get("torch", ""),
            opset=original.opset,
            precision=precision,
        ),
        golden_set=GoldenSet(
            pixels=images.images[golden].tobytes(),
            probabilities=expected[golden].ravel().tolist(),
            tolerance=TOLERANCES[precision],
            reference="pytorch" if file.run else "onnxruntime",
        ),
        answer=ModelInfo.ANSWER_INDEPENDENT if answer.independent else ModelInfo.ANSWER_EXCLUSIVE,
        thresholds=answer.thresholds,
        source=Source(
            kind=file.kind,
            file=file.path.absolute().name,
            sha256=file.sha256,
            input_name=signature.input_name,
            input_datatype=signature.datatype,
            input_layout=signature.layout,
            output_name=signature.output_name,
            golden_is_made=images.is_made,
            max_batch=graph.max_batch,
        ),
    )
    if accuracy is not None:
        info.training.CopyFrom(Training(test_accuracy=accuracy, test_images=len(images.images)))
    info.build.created.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    return info


def _golden_places(images: Samples, image_bytes: int) -> NDArray[np.int64]:
    """The indices of the golden images, spread over all images and so over all classes."""
    count = min(len(images.images), _GOLDEN, max(1, _GOLDEN_BYTES // image_bytes))
    return np.arange(count, dtype=np.int64) * len(images.images) // count


def record(
    file: OnnxFile,
    original: Original,
    choice: Choice,
    answer: Answer,
    graph: Graph,
    proof_result: Proof,
    images: Samples,
    accuracy: float | None,
    assumed: Iterable[str],
    info: ModelInfo,
) -> dict[str, object]:
    """The content of import.json: what was compared, what came out, and what was assumed."""
    signature = original.signature
    return {
        "source": file.path.absolute().name,
        "sha256": file.sha256,
        "opset": original.opset,
        "input": {"name": signature.input_name, "datatype": signature.datatype, "layout": signature.layout},
        "output": signature.output_name,
        "preprocessing": choice.preset.describe(signature.channels),
        "resizing": choice.resizing.describe(signature),
        "answer": answer.description,
        "thresholds": list(answer.thresholds),
        "read_from": {"preprocessing": choice.preset_from, "resizing": choice.resizing_from},
        "assumed": [*choice.assumed, *assumed],
        "batches": graph.description,
        "compared_on": {"images": proof_result.images, "made": images.is_made, "place": images.place},
        "largest_difference": proof_result.difference,
        "difference_between_batch_sizes": proof_result.between_batches,
        "batch_sizes": list(proof.BATCH_SIZES),
        "tolerance": proof_result.tolerance,
        "labels_equal": True,
        "accuracy": accuracy,
        "precision": info.build.precision,
        "versions": {
            **file.versions,
            "covey": covey_proto.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
