"""The graph that is served: uint8 `[N, H, W, C]` in, the original's preprocessing, its network, an activation,
probabilities float32 `[N, K]` out. Made with onnx.helper; operators are those that every opset from 7 on has.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from covey_export.importing.graphs.graph_edits import names, rename, strip
from covey_export.importing.graphs.signature import Signature
from covey_export.importing.settings.activation import Activation
from covey_export.importing.settings.preset import Preset

INPUT, OUTPUT, BATCH = "images", "probabilities", "N"
SCAN_OPSET = 11  # Scan as it is now from 9 on, what fills a group up from 11 on
_MIN_IR = 8
_PREFIX = "covey/"
_BGR = np.array([2, 1, 0], np.int64)


class Batching(enum.Enum):
    """How the network in the graph handles any number of images."""

    WHOLE = "whole"  # it takes them all at once
    GROUPS = "groups"  # it takes a fixed number; groups of that many go through it one after another


@dataclass(frozen=True)
class Built:
    """The served graph. `entry` is the value in it that the network takes, `exit` what the network gives: as the
    original does or, of groups, `[N, K] float32` of whole ones."""

    model: onnx.ModelProto
    entry: str
    exit: str


@dataclass
class _Builder:
    """Collects nodes and constants in the order of the data flow."""

    taken: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def name(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def constant(self, stem: str, value: object, dtype: type[np.generic] = np.int64) -> str:
        name = self.name(_PREFIX + stem)
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], stem: str = "", **attributes: Any) -> str:
        output = self.name(_PREFIX + (stem or operator.lower()))
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def build(
    model: onnx.ModelProto,
    signature: Signature,
    preset: Preset,
    classes: int,
    activation: Activation,
    batching: Batching = Batching.WHOLE,
) -> Built:
    """Builds the served graph. `classes` are the original's outputs; of a single output two classes are made, "no" and
    "yes".

    `model` is left as it is. With Batching.GROUPS its opset must be SCAN_OPSET or later.
    """
    network = onnx.GraphProto()
    network.CopyFrom(model.graph)
    rename(network, {name: f"{_PREFIX}{name}" for name in (INPUT, OUTPUT, BATCH)})
    renamed = {INPUT: f"{_PREFIX}{INPUT}", OUTPUT: f"{_PREFIX}{OUTPUT}", BATCH: f"{_PREFIX}{BATCH}"}
    entry = renamed.get(signature.input_name, signature.input_name)
    exit_ = renamed.get(signature.output_name, signature.output_name)
    strip(network, exit_)

    builder = _Builder({INPUT, OUTPUT, BATCH} | names(network))
    pixels = _in_groups(builder, signature) if batching is Batching.GROUPS else INPUT
    prepared = _front(builder, pixels, signature, preset)
    if batching is Batching.GROUPS:
        scores, all_scores = _scan(builder, network, prepared, entry, exit_, signature, classes)
    else:
        rename(network, {entry: prepared})
        builder.nodes.extend(network.node)
        builder.constants.extend(network.initializer)
        scores = builder.add("Reshape", [exit_, builder.constant("rows", [-1, classes])], "scores")
        scores, all_scores = builder.add("Cast", [scores], "scores_float", to=TensorProto.FLOAT), exit_
    probabilities = _back(builder, scores, classes, activation)
    builder.nodes.append(helper.make_node("Identity", [probabilities], [OUTPUT], name=builder.name(OUTPUT)))

    columns = 2 if classes == 1 else classes
    graph = helper.make_graph(
        builder.nodes,
        "imported",
        [helper.make_tensor_value_info(
            INPUT, TensorProto.UINT8, [BATCH, signature.height, signature.width, signature.channels]
        )],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, columns])],
        builder.constants,
    )  # fmt: skip
    if batching is Batching.WHOLE:
        graph.sparse_initializer.extend(network.sparse_initializer)
        graph.quantization_annotation.extend(network.quantization_annotation)
    built = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    built.ir_version = max(_MIN_IR, model.ir_version)
    return Built(built, prepared, all_scores)


def _front(builder: _Builder, pixels: str, signature: Signature, preset: Preset) -> str:
    """The nodes from uint8 `[N, H, W, C]` to the network's own input."""
    value = pixels
    is_planar = signature.layout == "NCHW"
    if is_planar or preset.bgr:
        value = builder.add("Transpose", [value], "planes", perm=[0, 3, 1, 2])
    if preset.bgr:
        value = builder.add("Gather", [value, builder.constant("bgr", _BGR)], "blue_first", axis=1)
        if (
            not is_planar
        ):  # exchanging planes and going back takes 0.1 ms at 224x224, exchanging colours in place 1.4 ms
            value = builder.add("Transpose", [value], "pixels", perm=[0, 2, 3, 1])
    if signature.elem_type == TensorProto.UINT8:
        return value
    value = builder.add("Cast", [value], "float", to=TensorProto.FLOAT)
    scale, shift = preset.factors(signature.channels)
    if (scale != 1).any():
        value = builder.add("Mul", [value, _per_channel(builder, "scale", scale, is_planar=is_planar)], "scaled")
    if shift.any():
        value = builder.add("Add", [value, _per_channel(builder, "shift", shift, is_planar=is_planar)], "shifted")
    if signature.elem_type != TensorProto.FLOAT:
        value = builder.add("Cast", [value], "prepared", to=signature.elem_type)
    return value


def _per_channel(builder: _Builder, name: str, values: NDArray[np.float32], *, is_planar: bool) -> str:
    if (values == values[0]).all():
        return builder.constant(name, values[0], np.float32)
    return builder.constant(name, values[:, None, None] if is_planar else values, np.float32)


def _back(builder: _Builder, scores: str, classes: int, activation: Activation) -> str:
    match activation:
        case Activation.SOFTMAX:
            scores = builder.add("Softmax", [scores], axis=1)
        case Activation.SIGMOID:
            scores = builder.add("Sigmoid", [scores])
        case Activation.EXP:
            scores = builder.add("Exp", [scores])
        case Activation.NONE:
            pass
    if classes == 1:
        complement = builder.add("Sub", [builder.constant("one", 1, np.float32), scores], "rest")
        scores = builder.add("Concat", [complement, scores], "both", axis=1)
    return scores


def _in_groups(builder: _Builder, signature: Signature) -> str:
    """The images, filled up with black ones to whole groups."""
    size = signature.batch or 1
    if size == 1:
        return INPUT
    shape = [signature.height, signature.width, signature.channels]
    group = builder.constant("group", [size])
    remainder = builder.add("Mod", [_count(builder), group], "over")
    missing = builder.add("Mod", [builder.add("Sub", [group, remainder], "under"), group], "missing")
    filling = builder.add("Concat", [missing, builder.constant("shape", shape)], "filling_shape", axis=0)
    black = builder.add(
        "ConstantOfShape", [filling], "filling", value=helper.make_tensor("black", TensorProto.UINT8, [1], [0])
    )
    return builder.add("Concat", [INPUT, black], "filled", axis=0)


def _count(builder: _Builder) -> str:
    """The number of images, `[1] int64`."""
    shape = builder.add("Shape", [INPUT], "images_shape")
    return builder.add("Gather", [shape, builder.constant("first", [0])], "count", axis=0)


def _scan(
    builder: _Builder,
    network: onnx.GraphProto,
    prepared: str,
    entry: str,
    exit_: str,
    signature: Signature,
    classes: int,
) -> tuple[str, str]:
    """The network as the body of a loop over groups; its scores `[N, K] float32`, and those of whole groups."""
    size = signature.batch or 1
    groups = builder.add("Reshape", [prepared, builder.constant("groups", [-1, *signature.shape(size)])], "grouped")
    rows, scores = builder.name(_PREFIX + "group_rows"), builder.name(_PREFIX + "group_scores")
    columns = builder.constant("group_columns", [size, classes])
    body = helper.make_graph(
        [
            *network.node,
            helper.make_node("Reshape", [exit_, columns], [rows], name=rows),
            helper.make_node("Cast", [rows], [scores], name=scores, to=TensorProto.FLOAT),
        ],
        "group",
        [helper.make_tensor_value_info(entry, signature.elem_type, signature.shape(size))],
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [size, classes])],
        [*network.initializer, builder.constants.pop()],
    )
    body.sparse_initializer.extend(network.sparse_initializer)
    all_scores = builder.add("Scan", [groups], "of_groups", body=body, num_scan_inputs=1)
    all_scores = builder.add("Reshape", [all_scores, builder.constant("all_rows", [-1, classes])], "all_scores")
    if size == 1:
        return all_scores, all_scores
    zero = builder.constant("zero", [0])
    scores_of_images = builder.add(
        "Slice", [all_scores, zero, _count(builder), builder.constant("axis", [0])], "own_scores"
    )
    return scores_of_images, all_scores
