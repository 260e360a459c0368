"""Owns the models under attack: small ones that answer quickly, but for an input that is the attack itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

SIDE = 28
GUILTY_PIXEL = 255  # where the first four of an image are that: it makes `faulty` fail and `slow` count
WIDE_CLASSES = 100_000
_GUILTY_PIXELS = 4  # a single one would be met by chance: one of covey load's 64 random images has it
_TURNS = 6_000_000  # about three seconds of onnxruntime's Loop


def write(folder: Path, names: Iterable[str]) -> Path:
    """Writes models, of `small`, `faulty`, `slow` and `wide`, into a models folder, and returns it."""
    for name in names:
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(_model(name, WIDE_CLASSES if name == "wide" else 10).SerializeToString())
    return folder


def image(seed: int, *, guilty: bool = False) -> bytes:
    """The pixels of an image for any of them."""
    pixels = np.random.default_rng(seed).integers(0, GUILTY_PIXEL, SIDE * SIDE, dtype=np.uint8)
    if guilty:
        pixels[:_GUILTY_PIXELS] = GUILTY_PIXEL
    return pixels.tobytes()


def _model(name: str, classes: int) -> onnx.ModelProto:
    chance = np.random.default_rng(7)
    weights = chance.normal(0, 0.2, (16, classes)).astype(np.float32)
    constants: dict[str, NDArray[np.generic]] = {
        "scale": np.array(1 / 255, np.float32),
        "flat": np.array([0, -1]),
        "begin": np.array([0]),
        "end": np.array([16]),
        "axis": np.array([1]),
        "weights": weights,
    }
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["rows8"]),
        helper.make_node("Slice", ["rows8", "begin", "end", "axis"], ["few8"]),
        helper.make_node("Cast", ["few8"], ["few"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["few", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["soft"], axis=1),
    ]
    constants |= {"four": np.array([_GUILTY_PIXELS]), "guilty": np.array(GUILTY_PIXEL, np.uint8)}
    first = [
        helper.make_node("Slice", ["rows8", "begin", "four", "axis"], ["first_four"]),
        helper.make_node("ReduceMin", ["first_four", "axis"], ["first"], keepdims=1),
        helper.make_node("Equal", ["first", "guilty"], ["met"]),
    ]
    if name == "faulty":  # an index out of range: the run fails
        constants |= {"table": np.zeros((1, 1), np.float32), "beyond": np.array(9), "within": np.array(0)}
        nodes += [
            *first,
            helper.make_node("Where", ["met", "beyond", "within"], ["index"]),
            helper.make_node("Reshape", ["index", "minus"], ["indices"]),
            helper.make_node("Gather", ["table", "indices"], ["nothing"], axis=0),
            helper.make_node("Add", ["soft", "nothing"], ["probabilities"]),
        ]
        constants["minus"] = np.array([-1])
    elif name == "slow":
        constants |= {"turns": np.array(_TURNS), "never": np.array(0), "go": np.array(True), "unit": np.array(1)}
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go_in"], ["go_out"]),
                helper.make_node("Add", ["sum_in", "unit"], ["sum_out"]),
            ],
            "count",
            [
                helper.make_tensor_value_info("turn", TensorProto.INT64, []),
                helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
                helper.make_tensor_value_info("sum_in", TensorProto.INT64, []),
            ],
            [
                helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
                helper.make_tensor_value_info("sum_out", TensorProto.INT64, []),
            ],
        )
        nodes += [
            *first,
            helper.make_node("Cast", ["met"], ["met_number"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["met_number"], ["any"], keepdims=0),
            helper.make_node("Mul", ["any", "turns"], ["count"]),
            helper.make_node("Loop", ["count", "go", "never"], ["counted"], body=body),
            helper.make_node("Less", ["counted", "never"], ["negative"]),
            helper.make_node("Cast", ["negative"], ["nothing"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["soft", "nothing"], ["probabilities"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["soft"], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    pixels = np.frombuffer(image(1), np.uint8)
    logits = (pixels[:16].astype(np.float32) / 255) @ weights
    soft = np.exp(logits - logits.max())
    info = pb.ModelInfo(
        name=name,
        version=1,
        labels=[f"class {index}" for index in range(classes)],
        input=pb.ImageSpec(height=SIDE, width=SIDE, channels=1, resize=pb.ImageSpec.RESIZE_STRETCH),
        training=pb.Training(network=name, dataset="none", test_accuracy=1.0),
        golden_set=pb.GoldenSet(pixels=pixels.tobytes(), probabilities=(soft / soft.sum()).tolist(), tolerance=1e-4),
    )
    model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    return model
