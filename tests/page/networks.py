"""Networks that the page must be able to show, however deep or wide, and one that reads digits."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb


def write_convolutions(folder: Path, layers: int, side: int, classes: int) -> None:
    """The model `convolutions`: so many convolutions of 3 x 3, each with a ReLU, then a mean and a linear layer."""
    chance = np.random.default_rng(4)
    constants, nodes, channels = _scale(), _prepared(), 1
    for number in range(layers):
        wide = 8 if number == layers - 1 else 2
        weights = chance.normal(0, 0.6, (wide, channels, 3, 3)).astype(np.float32)
        constants[f"w{number}"], channels = weights, wide
        nodes.append(helper.make_node("Conv", [f"r{number}", f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number + 1}"]))
    constants["last"] = chance.normal(0, 1, (channels, classes)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [f"r{layers}"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    _write(folder, "convolutions", nodes, constants, side, classes)


def write_digits(folder: Path) -> None:
    """The model `digits`: two convolutions with pooling, of random weights, and a linear layer that is fitted to the
    embedded sample of MNIST by least squares. It reads 97 of 100 of its test images, and is made in a second."""
    chance = np.random.default_rng(0)
    constants, nodes, channels = _scale(), _prepared(), 1
    for number, (wide, size) in enumerate(((12, 5), (24, 3))):
        weights = chance.normal(0, 1 / (size * channels**0.5), (wide, channels, size, size)).astype(np.float32)
        constants[f"w{number}"], channels = weights, wide
        nodes += [
            helper.make_node("Conv", [f"r{number}", f"w{number}"], [f"c{number}"], pads=[size // 2] * 4),
            helper.make_node("Relu", [f"c{number}"], [f"a{number}"]),
            helper.make_node(
                "MaxPool", [f"a{number}"], [f"r{number + 1}"], kernel_shape=[2, 2], strides=[2, 2]
            ),
        ]  # fmt: skip
    nodes.append(helper.make_node("Flatten", ["r2"], ["flat"]))
    features = _model(nodes, constants, 28, "flat", 49 * channels)
    with resources.files("covey_export.datasets").joinpath("sample.npz").open("rb") as file:
        sample = np.load(file)
        images, labels = sample["train_images"], sample["train_labels"]
    inputs = np.asarray(_run(features, images.reshape(-1, 28, 28, 1)))
    middle, wanted = inputs.mean(0), np.eye(10, dtype=np.float32)[labels] - 0.1
    centred = inputs - middle
    fitted = np.linalg.solve(centred.T @ centred + np.eye(len(middle), dtype=np.float32), centred.T @ wanted)
    constants["last"] = (10 * fitted).astype(np.float32)
    constants["bias"] = (-10 * middle @ fitted).astype(np.float32)
    nodes += [
        helper.make_node("Gemm", ["flat", "last", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    _write(folder, "digits", nodes, constants, 28, 10)


def _scale() -> dict[str, NDArray[np.generic]]:
    return {"scale": np.array(1 / 255, np.float32)}


def _prepared() -> list[onnx.NodeProto]:
    """From `images` to `r0`."""
    return [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["r0"], perm=[0, 3, 1, 2]),
    ]


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]], side: int, output: str, width: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _run(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": pixels})[
        0
    ]
    return found


def _write(
    folder: Path, name: str, nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]], side: int,
    classes: int,
) -> None:  # fmt: skip
    """Writes the model with its golden set."""
    model = _model(nodes, constants, side, "probabilities", classes)
    pixels = np.random.default_rng(5).integers(0, 256, (2, side, side, 1), dtype=np.uint8)
    described = pb.ModelInfo(
        name=name,
        version=1,
        labels=[f"{number}" for number in range(classes)],
        input=pb.ImageSpec(height=side, width=side, channels=1, resize=pb.ImageSpec.RESIZE_STRETCH),
        golden_set=pb.GoldenSet(
            pixels=pixels.tobytes(), probabilities=np.ravel(_run(model, pixels)).tolist(), tolerance=1e-4
        ),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(described))
    path = folder / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
