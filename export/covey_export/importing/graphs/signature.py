"""What an ONNX model takes and gives: the one input for images, its layout, type and size, and the output for scores.

Decides by the graph alone; what the shapes leave open is found by running it (original.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from covey_export import naming
from covey_export.errors import InvalidSource
from covey_export.importing.sources.onnx_file import OnnxFile

_TYPES: dict[int, tuple[str, np.dtype[Any]]] = {  # as the Open Inference Protocol names them, and numpy
    TensorProto.FLOAT: ("FP32", np.dtype(np.float32)),
    TensorProto.FLOAT16: ("FP16", np.dtype(np.float16)),
    TensorProto.UINT8: ("UINT8", np.dtype(np.uint8)),
}
_CHANNELS = (1, 3)
USUAL_SIZE = (224, 224)
_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
_PASSES = frozenset({"Cast", "Identity", "Sub", "Add", "Mul", "Div", "Relu", "Clip", "Pad", "QuantizeLinear",
                     "DequantizeLinear", "BatchNormalization"})  # fmt: skip
_IMAGE_OPERATORS = frozenset({"Conv", "QLinearConv", "MaxPool", "AveragePool", "InstanceNormalization"})
_TEXT_NAMES = ("input_ids", "token", "attention_mask", "text")
_BOX_NAMES = ("box", "det", "bbox", "anchor")

Dimensions = tuple["int | str", ...]


@dataclass(frozen=True)
class Signature:
    """Images go into `input_name`, scores come out of `output_name`. `batch`: the fixed length of the input's first
    axis; None: any."""

    input_name: str
    output_name: str
    elem_type: int  # of TensorProto
    layout: str
    height: int
    width: int
    channels: int
    batch: int | None
    is_size_assumed: bool = False  # the file takes any size

    @property
    def datatype(self) -> str:
        """The input's type, as the Open Inference Protocol names it."""
        return _TYPES[self.elem_type][0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return _TYPES[self.elem_type][1]

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """The shape of the original input for so many images."""
        if self.layout == "NCHW":
            return (batch, self.channels, self.height, self.width)
        return (batch, self.height, self.width, self.channels)

    def describe(self) -> str:
        """For people: "data_0, float32 NCHW 3x224x224"."""
        dimensions = "x".join(map(str, self.shape(0)[1:]))
        return f"{self.input_name}: {self.dtype.name} {self.layout} {dimensions}, batch {self.batch or 'of any size'}"


def find(
    file: OnnxFile,
    *,
    output: str | None = None,
    layout: str | None = None,
    image_size: tuple[int, int] | None = None,
    usual_size: tuple[int, int] | None = None,
) -> Signature:
    """Finds what the model takes and gives. `output`, `layout` and `image_size` (height, width) are what the user says
    of what the file leaves open; `usual_size` is taken where the file leaves its size open and the user does not say
    it.

    Raises InvalidSource where the model does not take images, or not images alone, or where something is open still.
    """
    graph = file.model.graph
    value = _image_input(file, graph)
    elem_type = value.type.tensor_type.elem_type
    dimensions = _dimensions(value)
    if len(dimensions) != 4:
        raise InvalidSource(
            f"{file.path}: expected an input of images with four dimensions ([N, C, H, W] or [N, H, W, C]), found "
            f"{_describe(value)}; {_not_images(value, dimensions)}"
        )
    axis_order = layout or _layout(file, value, dimensions)
    axes = (1, 2, 3) if axis_order == "NCHW" else (3, 1, 2)
    channels, height, width = (dimensions[axis] for axis in axes)
    channels = _channels(file, value, channels, axis_order, _first_channels(graph, value.name))
    is_open = image_size is None and not (isinstance(height, int) and isinstance(width, int))
    height, width = _size(file, value, height, width, image_size, usual_size)
    batch = dimensions[0] if isinstance(dimensions[0], int) else None
    output_name = _output(file, graph, output, batch)
    return Signature(value.name, output_name, elem_type, axis_order, height, width, channels, batch, is_open)


def _image_input(file: OnnxFile, graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    described = ", ".join(map(_describe, inputs)) or "none"
    if any(word in value.name.lower() for value in inputs for word in _TEXT_NAMES):
        raise InvalidSource(
            f"{file.path}: expected one input of images, found {described}: this model takes text. Import an image "
            f"classifier"
        )
    if len(inputs) != 1:
        raise InvalidSource(
            f"{file.path}: expected one input of images, found {len(inputs)}: {described}. Export the network with its "
            f"image as the only input, all others fixed to constants"
        )
    (value,) = inputs
    if value.type.WhichOneof("value") != "tensor_type" or value.type.tensor_type.elem_type not in _TYPES:
        raise InvalidSource(
            f"{file.path}: expected an input of images as float32, float16 or uint8, found {described}; "
            f"{_not_images(value, _dimensions(value))}"
        )
    return value


def _dimensions(value: onnx.ValueInfoProto) -> Dimensions:
    """The input's dimensions: a number where one is fixed, else its name, "?" where it has none. Of an input without a
    shape, four "?"."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return ("?",) * 4
    return tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?" for dim in tensor.shape.dim)


def _describe(value: onnx.ValueInfoProto) -> str:
    if value.type.WhichOneof("value") != "tensor_type":
        return f"{value.name}: {value.type.WhichOneof('value') or 'no type'}"
    tensor = value.type.tensor_type
    name = TensorProto.DataType.Name(tensor.elem_type).lower()
    name = {"float": "float32", "double": "float64"}.get(name, name)
    shape = ", ".join(map(str, _dimensions(value))) if tensor.HasField("shape") else "any shape"
    return f"{value.name}: {name} [{shape}]"


def _not_images(value: onnx.ValueInfoProto, dimensions: Dimensions) -> str:
    if value.type.tensor_type.elem_type in (TensorProto.INT32, TensorProto.INT64, TensorProto.STRING):
        return "whole numbers or text are what language models take. Import an image classifier"
    if len(dimensions) == 3:
        return "export it with a batch axis in front"
    if len(dimensions) == 2:
        return "a model of rows of numbers takes no images; export it with the reshape from images in the graph"
    if len(dimensions) == 5:
        return "this is a model of videos or volumes. Import an image classifier"
    return "import an image classifier"


def _layout(file: OnnxFile, value: onnx.ValueInfoProto, dimensions: Dimensions) -> str:
    first, last = dimensions[1] in _CHANNELS, dimensions[3] in _CHANNELS
    if first != last:
        return "NCHW" if first else "NHWC"
    if traced := _traced_layout(file.model.graph, value.name):
        return traced
    if not any(isinstance(dimensions[axis], str) for axis in (1, 3)) and not first:
        raise InvalidSource(
            f"{file.path}: expected images of 1 or 3 channels ([N, C, H, W] or [N, H, W, C]), found "
            f"{_describe(value)}; import a model of grey or RGB images"
        )
    raise InvalidSource(
        f"{file.path}: the input {_describe(value)} does not show where its channels are; say --layout NCHW (PyTorch) "
        f"or --layout NHWC (Keras, TensorFlow)"
    )


def _traced_layout(graph: onnx.GraphProto, name: str) -> str | None:
    """The layout by the first operator that shows it: a convolution takes NCHW, and a Transpose before it says so."""
    node = _first_after(graph, name)
    if node is None:
        return None
    if node.op_type == "Transpose":
        order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
        return {tuple(_TO_NCHW): "NHWC", tuple(_TO_NHWC): "NCHW"}.get(tuple(order))
    return "NCHW" if node.op_type in _IMAGE_OPERATORS else None


def _first_after(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """The first node behind the value that is more than arithmetic on each pixel."""
    for _ in range(len(graph.node)):
        takers = [node for node in graph.node if name in node.input]
        if not takers:
            return None
        if takers[0].op_type not in _PASSES or takers[0].input[0] != name:
            return takers[0]
        name = takers[0].output[0]
    return None


def _first_channels(graph: onnx.GraphProto, name: str) -> int | None:
    """The channels that the first convolution takes."""
    node = _first_after(graph, name)
    if node is not None and node.op_type == "Transpose":
        node = _first_after(graph, node.output[0])
    if node is None or node.op_type != "Conv":
        return None
    weights = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return int(weights.dims[1]) * groups if weights is not None and len(weights.dims) == 4 else None


def _channels(file: OnnxFile, value: onnx.ValueInfoProto, declared: int | str, layout: str, traced: int | None) -> int:
    channels = declared if isinstance(declared, int) else traced or 3
    if channels not in _CHANNELS:
        raise InvalidSource(
            f"{file.path}: expected images of 1 or 3 channels, found {channels} of them in {layout}: "
            f"{_describe(value)}; import a model of grey or RGB images, or say another --layout"
        )
    return channels


def _size(
    file: OnnxFile,
    value: onnx.ValueInfoProto,
    height: int | str,
    width: int | str,
    image_size: tuple[int, int] | None,
    usual_size: tuple[int, int] | None,
) -> tuple[int, int]:
    if isinstance(height, int) and isinstance(width, int):
        if image_size not in (None, (height, width)):
            raise InvalidSource(
                f"{file.path}: takes images of {height}x{width}, --image-size says {image_size[0]}x{image_size[1]}; "
                f"omit it, or export the network for that size"
            )
        return height, width
    image_size = image_size or usual_size
    if image_size is None:
        raise InvalidSource(
            f"{file.path}: takes images of any size ({_describe(value)}); say the one it was trained for, with "
            f"--image-size 224 or --image-size HEIGHTxWIDTH"
        )
    for name, fixed, length in (("height", height, image_size[0]), ("width", width, image_size[1])):
        if isinstance(fixed, int) and fixed != length:
            raise InvalidSource(
                f"{file.path}: takes images of {name} {fixed}, and {length} was said; say {fixed} with --image-size"
            )
    return image_size


def _output(file: OnnxFile, graph: onnx.GraphProto, name: str | None, batch: int | None) -> str:
    names = [value.name for value in graph.output]
    if name is not None:
        if name not in names:
            raise InvalidSource(f"{file.path}: {naming.unknown('output', name, names)}")
        return name
    if len(names) == 1:
        return names[0]
    described = ", ".join(map(_describe, graph.output))
    advice = "Say which one holds the scores, with --output NAME"
    if any(_holds_boxes(value, batch) for value in graph.output):
        advice = "These look like those of a detector, which is not served; import an image classifier"
    raise InvalidSource(
        f"{file.path}: expected one output of a score for each class, found {len(names)}: {described}. {advice}"
    )


def _holds_boxes(value: onnx.ValueInfoProto, batch: int | None) -> bool:
    """Whether an output holds boxes: by its name, or by a shape of four numbers for each of something else than the
    `batch` images."""
    if any(word in value.name.lower() for word in _BOX_NAMES):
        return True
    *others, last = _dimensions(value) or ("?",)
    return last == 4 and (len(others) == 2 or (batch is not None and len(others) == 1 and others[0] != batch))
