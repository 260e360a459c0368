"""Proves that an imported graph computes what the original file computes, by the code that will serve it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from covey_export.errors import ImportFailed
from covey_export.importing.graphs import batch, graph
from covey_export.importing.graphs.graph import Batching
from covey_export.importing.proving.original import Original
from covey_export.importing.settings.activation import Answer
from covey_export.importing.settings.preset import Preset
from covey_export.importing.sources.onnx_file import first_line
from covey_proto.tolerances import TOLERANCES
from covey_proto.wording import plural
from covey_server.errors import CoveyServerError
from covey_server.inference import golden
from covey_server.inference.engine import Engine

BATCH_SIZES = (1, 2, 3, 7)
_TRIED_IMAGES = max(BATCH_SIZES)
_STEADY_IMAGES = 3
_BATCH = 16
_EVALUATION = "Export it again in evaluation mode (model.eval())"
_QUANTIZED = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Graph:
    """A graph that gave, at each of BATCH_SIZES, what the original gives. `max_batch` is the file's: 0 for any number
    of images at once; otherwise groups of that many go through it one after another."""

    model: onnx.ModelProto
    engine: Engine  # of it
    max_batch: int
    description: str  # how images go through it, for people
    entry: str  # the value in it that the original's input is
    exit: str  # and the one that its output is


@dataclass(frozen=True)
class Proof:
    """What was compared. Differences are absolute, of probabilities."""

    images: int
    difference: float
    tolerance: float
    between_batches: float  # of the same image's, in batches of BATCH_SIZES


def precision(model: onnx.ModelProto) -> str:
    """What the network computes in, as Build.precision has it."""
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        return "int8"
    halves = sum(
        math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16
    )
    return "float16" if halves else "float32"


def find_graph(
    original: Original, preset: Preset, answer: Answer, images: Images, expected: Probabilities, scratch: Path
) -> Graph:
    """Finds the first way to handle any number of images that computes what the original does: the graph as it is, with
    its batch axis made dynamic, or in a loop.

    `images` `[N, H, W, C]` and what is `expected` for them, `[N, K]`, are for trying; `scratch` is a folder for files.
    Raises ImportFailed.
    """
    batch = original.signature.batch or 1
    steady = batch if batch > 1 else _STEADY_IMAGES
    _require_steady(original, preset, answer, images[:steady], expected[:steady])
    places = np.arange(_TRIED_IMAGES) % len(images)
    images_tried, expected = images[places], expected[places]
    tolerance = TOLERANCES[precision(original.model)]
    reasons = []
    for model, batching, max_batch, description in _attempts(original):
        if model is None:
            continue
        try:
            built = graph.build(model, original.signature, preset, original.classes, answer.activation, batching)
            path = scratch / "tried.onnx"
            path.write_bytes(serialized(built.model))
            engine = Engine(path)
            differences = {size: difference(run(engine, images_tried, size), expected) for size in BATCH_SIZES}
        except CoveyServerError as error:
            reasons.append(first_line(error))
            continue
        if max(differences.values()) <= tolerance:
            return Graph(built.model, engine, max_batch, description, built.entry, built.exit)
        worst = max(differences, key=lambda size: differences[size])
        reasons.append(f"in batches of {worst} its probabilities differ by {differences[worst]:.2g}")
    raise ImportFailed(
        f"the imported graph does not compute what the original does: {reasons[-1]}; nothing was published. Export the "
        f"network again with a dynamic batch axis, in evaluation mode"
    )


def _attempts(original: Original) -> Iterator[tuple[onnx.ModelProto | None, Batching, int, str]]:
    model, signature = original.model, original.signature
    size = signature.batch or 1
    if signature.batch is None:
        yield model, Batching.WHOLE, 0, "its batch axis is dynamic"
    yield _as_dynamic(model, original), Batching.WHOLE, 0, f"its batch axis, fixed to {size}, was made dynamic"
    yield (
        batch.make_dynamic(model, signature), Batching.WHOLE, 0,
        f"its batch axis, fixed to {size} in the graph too, was made dynamic",
    )  # fmt: skip
    one_by_one = "images go through it one by one" if size == 1 else f"groups of {size} go through it one after another"
    yield (
        _for_loop(original), Batching.GROUPS, size,
        f"its batch axis is fixed to {size} in a way that cannot be changed: {one_by_one}, and batches gain nothing",
    )  # fmt: skip


def _as_dynamic(model: onnx.ModelProto, original: Original) -> onnx.ModelProto | None:
    """The model as it is: often only the shape of the input is fixed."""
    return model if original.signature.batch is not None else None


def _for_loop(original: Original) -> onnx.ModelProto | None:
    if original.opset >= graph.SCAN_OPSET:
        return original.model
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(original.model, graph.SCAN_OPSET + 2)
    except Exception:  # noqa: BLE001 - the converter raises what it likes; without it there is one way less
        return None
    return converted


def _require_steady(
    original: Original, preset: Preset, answer: Answer, images: Images, expected: Probabilities
) -> None:
    """Raises ImportFailed where the original answers the same images differently: run again, or beside others."""
    if any(node.op_type == "BatchNormalization" and _is_training(node) for node in original.model.graph.node):
        raise ImportFailed(
            f"the original was exported in training mode: its BatchNormalization normalises by the other images of a "
            f"batch. {_EVALUATION}"
        )
    again = answer.probabilities(original.run(images, preset))
    if not difference(again, expected) <= TOLERANCES["float32"]:
        raise ImportFailed(
            f"the original gives other answers when it runs again on the same images (difference "
            f"{difference(again, expected):.2g}): it draws random numbers, as dropout does in training. {_EVALUATION}"
        )
    if original.signature.batch not in (None, 1):
        by_itself = answer.probabilities(original.run(images[-1:], preset))  # first of a batch that repeats it
        if not difference(by_itself, expected[-1:]) <= TOLERANCES[precision(original.model)]:
            raise ImportFailed(
                f"the original gives an image other answers beside other images (difference "
                f"{difference(by_itself, expected[-1:]):.2g}). {_EVALUATION}"
            )


def _is_training(node: onnx.NodeProto) -> bool:
    """Whether a node is in training mode: by its attribute, or in older opsets by outputs for new means and
    deviations."""
    return len(node.output) > 1 or any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )


def prove(engine: Engine, images: Images, expected: Probabilities, tolerance: float, origin: str) -> Proof:
    """Compares the engine's answers for `[N, H, W, C] uint8` with those `expected` `[N, K]` of the original.

    Raises ImportFailed where they are not the same, whatever the batch.
    """
    probabilities = run(engine, images)
    largest, between = difference(probabilities, expected), between_batches(engine, images)
    if not max(largest, between) <= tolerance:
        raise ImportFailed(
            f"{origin}: the imported graph's probabilities differ from the original's by up to {largest:.2g}, and "
            f"between batches by {between:.2g}; allowed are {tolerance:.2g}. Nothing was published"
        )
    if changed := int((golden.margins(probabilities, expected) > tolerance).sum()):
        raise ImportFailed(f"{origin}: {plural(changed, 'image')} get another label. Nothing was published")
    return Proof(len(images), largest, tolerance, between)


def between_batches(engine: Engine, images: Images) -> float:
    """By how much the same image's probabilities differ between batches of BATCH_SIZES. Raises EngineFailed."""
    tried = images[:_TRIED_IMAGES]
    singles = run(engine, tried, 1)
    return max(difference(run(engine, tried, size), singles) for size in BATCH_SIZES)


def run(engine: Engine, images: Images, size: int = _BATCH) -> Probabilities:
    """The engine's answers `[N, K]`, in batches of `size`. Raises EngineFailed."""
    return np.concatenate([engine.run(images[start : start + size]) for start in range(0, len(images), size)])


def difference(probabilities: Probabilities, expected: Probabilities) -> float:
    """The largest absolute difference; NaN where there is one."""
    if probabilities.shape != expected.shape:
        return float("inf")
    return float(np.abs(probabilities - expected).max(initial=0.0))


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes. Raises ImportFailed where it is larger than a file can be."""
    try:
        data: bytes = model.SerializeToString()
    except ValueError as error:
        raise ImportFailed(
            f"the imported model is larger than an ONNX file can be (2 GB): {first_line(error)}; import a smaller "
            f"network, or its float16 version"
        ) from error
    return data
