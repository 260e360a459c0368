"""Small classifiers as other people's exporters write them, made with onnx.helper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 12
CLASSES = 5
_NUMPY: dict[int, type[np.floating[Any]]] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


def small_cnn(
    *,
    layout: str = "NCHW",
    dtype: int = TensorProto.FLOAT,
    batch: int | str = "N",
    height: int | str = SIZE,
    width: int | str = SIZE,
    channels: int = 3,
    classes: int = CLASSES,
    last: str = "",
    flatten: str = "Flatten",
    keeps_maps: bool = False,
    opset: int = 13,
    input_name: str = "data",
    output_name: str = "scores",
) -> onnx.ModelProto:
    """Convolution, pooling over all places, one matrix; `last` is an operator behind it.

    `flatten`: the operator before the matrix; "Reshape" holds the batch as a number, "Reshape -1" holds 1 and -1.
    `keeps_maps`: scores as `[N, K, 1, 1]`, of a 1x1 convolution. uint8 networks scale for themselves.
    """
    chance = np.random.default_rng(5)
    computes = TensorProto.FLOAT if dtype == TensorProto.UINT8 else dtype
    kind = _NUMPY[computes]
    constants = {
        "kernel": chance.normal(0, 0.5, (8, channels, 3, 3)).astype(kind),
        "bias": chance.normal(0, 0.2, 8).astype(kind),
        "matrix": chance.normal(0, 1.5, (8, classes)).astype(kind),
        "offset": chance.normal(0, 0.3, classes).astype(kind),
    }
    nodes, value = [], input_name
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [value], ["planes"], perm=[0, 3, 1, 2]))
        value = "planes"
    if dtype == TensorProto.UINT8:
        constants["unit"] = np.array(1 / 255, np.float32)
        nodes.append(helper.make_node("Cast", [value], ["cast"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", ["cast", "unit"], ["floats"]))
        value = "floats"
    nodes += [
        helper.make_node("Conv", [value, "kernel", "bias"], ["conv"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
    ]
    if keeps_maps:
        constants["matrix"] = np.ascontiguousarray(constants["matrix"].T[:, :, None, None])
        nodes.append(helper.make_node("Conv", ["pooled", "matrix", "offset"], ["logits"], kernel_shape=[1, 1]))
    else:
        if flatten == "Flatten":
            nodes.append(helper.make_node("Flatten", ["pooled"], ["rows"]))
        else:
            first = batch if isinstance(batch, int) else 1
            constants["shape"] = np.array([first, -1 if flatten.endswith("-1") else 8], np.int64)
            nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["rows"]))
        nodes.append(helper.make_node("Gemm", ["rows", "matrix", "offset"], ["logits"]))
    if last:
        attributes: dict[str, Any] = {"axis": 1} if last in ("Softmax", "LogSoftmax") else {}
        nodes.append(helper.make_node(last, ["logits"], [output_name], **attributes))
    else:
        nodes[-1].output[0] = output_name
    shape = [batch, channels, height, width] if layout == "NCHW" else [batch, height, width, channels]
    return model(
        nodes,
        [helper.make_tensor_value_info(input_name, dtype, shape)],
        [helper.make_tensor_value_info(output_name, computes, [batch, classes, *([1, 1] if keeps_maps else [])])],
        constants,
        opset,
    )


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
    opset: int = 13,
) -> onnx.ModelProto:
    """A model of these nodes."""
    graph = helper.make_graph(
        nodes, "made", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in constants.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(model: onnx.ModelProto, folder: Path, name: str = "network.onnx") -> Path:
    """The file."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path
