"""A network worth a GPU, made in a moment without torch: convolutions over 3-channel pixels, with chosen weights.

Its golden set is what onnxruntime computes on this machine's CPU, so that the server's golden check on another device
compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from covey_export.quantization import variant
from covey_export.quantization.precision import Precision
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import GoldenSet, ImageSpec, ModelInfo
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Session

CLASSES = 16
_WIDTHS = (32, 64, 128, 256)  # of the stages; each halves the image
_GOLDEN_IMAGES = 8


def write(folder: Path, name: str, size: int, seed: int = 1, version: int = 1) -> Path:
    """Writes `folder`/name/version/model.onnx, a network for images `[N, size, size, 3]`. Returns the path."""
    model = _graph(size, np.random.default_rng(seed))
    return _write(folder, name, version, _described(model, name, version, size))


def write_variant(folder: Path, float32: Path, name: str, precision: Precision) -> Path:
    """Writes the network of `float32` in int8 or float16, as covey-export makes it."""
    model = onnx.load(float32)
    info = metadata.from_json(model.metadata_props[0].value)
    info.name = name
    shape = (info.input.height, info.input.width, info.input.channels)
    return _write(folder, name, 1, variant.make(float32.read_bytes(), info, precision, pictures(32, shape[0])))


def pictures(count: int, size: int, seed: int = 7) -> NDArray[np.uint8]:
    """Images `[count, size, size, 3] uint8` that differ in their colours and structure."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, size // 4, size // 4, 1), np.uint8))


def _graph(size: int, random: np.random.Generator) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, NDArray[np.float32]] = {"scale": np.array(1 / 255, np.float32)}
    before, channels = "planes", 3
    for stage, width in enumerate(_WIDTHS):
        for step, stride in enumerate((2, 1)):
            name = f"conv{stage}{step}"
            deviation = np.sqrt(2 / (channels * 9))
            constants[f"{name}.weight"] = random.normal(0, deviation, (width, channels, 3, 3)).astype(np.float32)
            constants[f"{name}.bias"] = np.zeros(width, np.float32)
            inputs = [before, f"{name}.weight", f"{name}.bias"]
            nodes += [
                helper.make_node("Conv", inputs, [name], name=name, pads=[1, 1, 1, 1], strides=[stride, stride]),
                helper.make_node("Relu", [name], [f"{name}.relu"], name=f"{name}.relu"),
            ]
            before, channels = f"{name}.relu", width
    constants["head.weight"] = random.normal(0, 0.5, (channels, CLASSES)).astype(np.float32)
    constants["head.bias"] = np.zeros(CLASSES, np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [before], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], name="head"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1, name="softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _described(model: onnx.ModelProto, name: str, version: int, size: int) -> bytes:
    pixels = pictures(_GOLDEN_IMAGES, size)
    probabilities = Session(model.SerializeToString(), CPU, 1).run(pixels)
    info = ModelInfo(
        name=name,
        version=version,
        labels=_labels(),
        input=ImageSpec(height=size, width=size, channels=3, resize=ImageSpec.RESIZE_STRETCH),
        golden_set=GoldenSet(
            pixels=pixels.tobytes(),
            probabilities=probabilities.ravel().tolist(),
            tolerance=Precision.FLOAT32.tolerance,
            reference="onnxruntime",
        ),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    return model.SerializeToString()


def _labels() -> Sequence[str]:
    return [f"class {index}" for index in range(CLASSES)]


def _write(folder: Path, name: str, version: int, content: bytes) -> Path:
    path = folder / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path
