"""Small networks of many kinds of layers, as served models, and their tensors by onnxruntime alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

Constants = Mapping[str, NDArray[Any]]
CLASSES = 5
SHAPE = (20, 18, 3)
_SEED = 19


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, [output], name=f"node_{output}", **attributes)


def normal(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Weights whose sums stay about as large as what goes in; the same for the same shape."""
    width = int(np.prod(shape[1:])) or 1
    found: NDArray[np.float32] = (
        np.random.default_rng((_SEED, *shape)).normal(0, scale, shape) / np.sqrt(width)
    ).astype(np.float32)
    return found


def write(
    models: Path,
    name: str,
    nodes: Sequence[NodeProto],
    constants: Constants,
    *,
    shape: tuple[int, int, int] = SHAPE,
    classes: int = CLASSES,
    scale: float = 1 / 64,
    shift: float = -2.0,
    last: str = "Softmax",
    mean: Sequence[float] = (),
    opset: int = 18,
) -> Path:
    """Writes `nodes`, from `input` (float32 NCHW) to `scores` `[N, classes]`, as a model that Covey serves."""
    height, width, channels = shape
    graph = helper.make_graph(
        [
            node("Transpose", ["images"], "planes", perm=[0, 3, 1, 2]),
            node("Cast", ["planes"], "floats", to=TensorProto.FLOAT),
            node("Mul", ["floats", "scale"], "scaled"),
            node("Add", ["scaled", "shift"], "input"),
            *nodes,
            node(last, ["scores"], "probabilities", **({"axis": 1} if last == "Softmax" else {})),
        ],
        name,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", height, width, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [
            numpy_helper.from_array(np.asarray(value), key)
            for key, value in {
                "scale": np.array(scale, np.float32),
                "shift": np.array(shift, np.float32),
                **constants,
            }.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    golden = images(2, shape)
    size = pb.ImageSpec(height=height, width=width, channels=channels, resize=pb.ImageSpec.RESIZE_STRETCH, mean=mean)
    info = pb.ModelInfo(
        name=name,
        version=1,
        labels=[f"class {index}" for index in range(classes)],
        input=size,
        golden_set=pb.GoldenSet(
            pixels=golden.tobytes(),
            probabilities=tensors(model, golden, ["probabilities"])["probabilities"].ravel().tolist(),
            tolerance=1e-4,
        ),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    path = models / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    return path


def images(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def tensors(model: onnx.ModelProto, pixels: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """These tensors for `pixels` `[N, H, W, C]`, by onnxruntime without its optimizations."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(changed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {"images": pixels}), strict=True))


def sequence(models: Path) -> Path:
    """With a layer that answers a sequence of tensors."""
    return write(
        models,
        "sequence",
        [
            node("Conv", ["input", "conv.weight"], "conv", kernel_shape=[3, 3]),
            node("SplitToSequence", ["conv", "two"], "parts", axis=1),
            node("ConcatFromSequence", ["parts"], "joined", axis=1),
            node("GlobalAveragePool", ["joined"], "means"),
            node("Flatten", ["means"], "features"),
            node("MatMul", ["features", "head.weight"], "scores"),
        ],
        {"conv.weight": normal(4, 3, 3, 3), "head.weight": normal(4, CLASSES), "two": np.array(2)},
    )


def plain(models: Path) -> Path:
    """As LeNet: convolutions, poolings, a flat row, matrices; one of them as product and sum."""
    return write(
        models,
        "plain",
        [
            node("Conv", ["input", "conv1.weight", "conv1.bias"], "conv1", kernel_shape=[5, 5]),
            node("Relu", ["conv1"], "relu1"),
            node("MaxPool", ["relu1"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["pool1", "conv2.weight"], "conv2", kernel_shape=[3, 3], group=2, auto_pad="SAME_UPPER"),
            node("Sigmoid", ["conv2"], "gate"),
            node("Mul", ["conv2", "gate"], "silu"),
            node("AveragePool", ["silu"], "pool2", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Reshape", ["pool2", "flat"], "row"),
            node("Gemm", ["row", "fc1.weight", "fc1.bias"], "fc1", transB=1, alpha=0.5, beta=2.0),
            node("Tanh", ["fc1"], "tanh"),
            node("MatMul", ["tanh", "fc2"], "product"),
            node("Add", ["product", "fc2.bias"], "scores"),
        ],
        {
            "conv1.weight": normal(6, 3, 5, 5),
            "conv1.bias": normal(6),
            "conv2.weight": normal(8, 3, 3, 3),
            "flat": np.array([-1, 8 * 4 * 4]),
            "fc1.weight": normal(12, 8 * 4 * 4),
            "fc1.bias": normal(12),
            "fc2": normal(12, CLASSES),
            "fc2.bias": normal(CLASSES),
        },
    )


def residual(models: Path) -> Path:
    """As a ResNet: strides, padding, dilation, a depthwise convolution, a sum of two ways, and a pooled linear head."""
    return write(
        models,
        "residual",
        [
            node("Conv", ["input", "stem.weight", "stem.bias"], "stem", strides=[2, 1], pads=[3, 2, 3, 2]),
            node("Relu", ["stem"], "stem_relu"),
            node("MaxPool", ["stem_relu"], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Conv", ["pooled", "a.weight", "a.bias"], "a", pads=[2, 2, 2, 2], dilations=[2, 2]),
            node("BatchNormalization", ["a", "bn.scale", "bn.shift", "bn.mean", "bn.var"], "bn"),
            node("Relu", ["bn"], "a_relu"),
            node("Conv", ["a_relu", "b.weight"], "b", pads=[1, 1, 1, 1], group=8),
            node("Add", ["b", "pooled"], "sum"),
            node("LeakyRelu", ["sum"], "maps", alpha=0.1),
            node("GlobalAveragePool", ["maps"], "means"),
            node("Flatten", ["means"], "row"),
            node("Gemm", ["row", "fc.weight", "fc.bias"], "scores", transB=1),
        ],
        {
            "stem.weight": normal(8, 3, 7, 5),
            "stem.bias": normal(8),
            "a.weight": normal(8, 8, 3, 3),
            "a.bias": normal(8),
            "bn.scale": np.abs(normal(8)),
            "bn.shift": normal(8),
            "bn.mean": normal(8),
            "bn.var": np.abs(normal(8)),
            "b.weight": normal(8, 1, 3, 3),
            "fc.weight": normal(CLASSES, 8, scale=3),
            "fc.bias": normal(CLASSES),
        },
    )


PATCH = 5
PATCH_SIDE = 40


def detector(models: Path, head: str) -> Path:
    """Class 0 where nothing is, class 1 where a red patch is, class 2 where a green one is: `head` "mean" allows a
    class activation map, "max" does not."""
    kernel = np.zeros((2, 3, PATCH, PATCH), np.float32)
    kernel[0] = np.array([1, -1, -1], np.float32)[:, None, None]
    kernel[1] = np.array([-1, 1, -1], np.float32)[:, None, None]
    pooling = "GlobalAveragePool" if head == "mean" else "GlobalMaxPool"
    gain = 20.0 if head == "mean" else 0.05
    return write(
        models,
        f"detector-{head}",
        [
            node("Conv", ["input", "detect.weight", "detect.bias"], "detected", pads=[2, 2, 2, 2]),
            node("Relu", ["detected"], "maps"),
            node(pooling, ["maps"], "found"),
            node("Flatten", ["found"], "row"),
            node("Gemm", ["row", "fc.weight", "fc.bias"], "scores", transB=1),
        ],
        {
            "detect.weight": kernel * 4,
            "detect.bias": np.array([-40, -40], np.float32),
            "fc.weight": np.array([[0, 0], [1, 0], [0, 1]], np.float32) * gain,
            "fc.bias": np.array([2, 0, 0], np.float32),
        },
        shape=(PATCH_SIDE, PATCH_SIDE, 3),
        classes=3,
        scale=1 / 255,
        shift=-0.5,
        mean=(0.5,),
    )


def quantized(models: Path) -> Path:
    """A convolution and a matrix with int8 weights and uint8 activations, as quantizers write them (QDQ)."""
    chance = np.random.default_rng(_SEED)
    return write(
        models,
        "quantized",
        [
            node("QuantizeLinear", ["input", "in.scale", "in.zero"], "in.q"),
            node("DequantizeLinear", ["in.q", "in.scale", "in.zero"], "in.d"),
            node("DequantizeLinear", ["conv.weight_quantized", "conv.scale", "conv.zero"], "conv.w", axis=0),
            node("Conv", ["in.d", "conv.w", "conv.bias"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["conv"], "relu"),
            node("QuantizeLinear", ["relu", "in.scale", "in.zero"], "relu.q"),
            node("DequantizeLinear", ["relu.q", "in.scale", "in.zero"], "relu.d"),
            node("GlobalAveragePool", ["relu.d"], "means"),
            node("Flatten", ["means"], "row"),
            node("DequantizeLinear", ["fc.weight_quantized", "fc.scale", "fc.zero"], "fc.w"),
            node("Gemm", ["row", "fc.w", "fc.bias"], "scores", transB=1),
        ],
        {
            "in.scale": np.array(0.03, np.float32),
            "in.zero": np.array(70, np.uint8),
            "conv.weight_quantized": chance.integers(-127, 128, (6, 3, 3, 3), dtype=np.int8),
            "conv.scale": np.abs(normal(6)) * 0.005 + 0.001,
            "conv.zero": np.zeros(6, np.int8),
            "conv.bias": normal(6),
            "fc.weight_quantized": chance.integers(-127, 128, (CLASSES, 6), dtype=np.int8),
            "fc.scale": np.array(0.01, np.float32),
            "fc.zero": np.array(0, np.int8),
            "fc.bias": normal(CLASSES),
        },
    )


def half(models: Path) -> Path:
    """A network that computes in float16."""
    weights = {"conv.weight": normal(6, 3, 3, 3), "conv.bias": normal(6), "fc.weight": normal(CLASSES, 6)}
    return write(
        models,
        "half",
        [
            node("Cast", ["input"], "input16", to=TensorProto.FLOAT16),
            node("Conv", ["input16", "conv.weight", "conv.bias"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["conv"], "relu"),
            node("GlobalAveragePool", ["relu"], "means"),
            node("Flatten", ["means"], "row"),
            node("Gemm", ["row", "fc.weight"], "scores16", transB=1),
            node("Cast", ["scores16"], "scores", to=TensorProto.FLOAT),
        ],
        {name: value.astype(np.float16) for name, value in weights.items()},
    )
