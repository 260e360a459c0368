"""Networks that the page must be able to show, however deep or wide."""

from __future__ import annotations

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
    constants: dict[str, NDArray[np.generic]] = {"scale": np.array(1 / 255, np.float32)}
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["r0"], perm=[0, 3, 1, 2]),
    ]
    channels = 1
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
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    pixels = chance.integers(0, 256, (2, side, side, 1), dtype=np.uint8)
    golden = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": pixels})[0]
    described = pb.ModelInfo(
        name="convolutions",
        version=1,
        labels=[f"class {number}" for number in range(classes)],
        input=pb.ImageSpec(height=side, width=side, channels=1, resize=pb.ImageSpec.RESIZE_STRETCH),
        golden_set=pb.GoldenSet(pixels=pixels.tobytes(), probabilities=np.ravel(golden).tolist(), tolerance=1e-4),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(described))
    path = folder / "convolutions" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
