"""What `explain` sends, and what it answers with: arrays of numpy, no messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey.errors import InvalidInput
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import Method
from covey.results import Class, make_class
from covey_proto.v1 import classifier_pb2 as pb

EXPLAIN: Method[pb.ExplainRequest, pb.ExplainResponse] = Method(
    "/covey.v1.Classifier/Explain", pb.ExplainRequest.SerializeToString, pb.ExplainResponse.FromString
)
_MAX_MAP_BYTES = 8 << 20  # as servers take it


class ExplainOptions(NamedTuple):
    """All of a request but its image, as `Client.explain` has them."""

    model: str = ""
    version: int = 0
    heat_map: bool = True
    class_index: int | None = None
    method: str = ""
    maps: bool | Sequence[int] = False
    map_channels: int = 0
    map_side: int = 0
    unit: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a network. `shape` is that of its answer to one image: channels, height, width, or the number of
    outputs; `inputs` are the layers that it reads, by index."""

    index: int
    name: str
    kind: str  # "convolution", "max_pooling", ...
    op: str  # ONNX's name of it
    detail: str  # "16 filters of 5 x 5 over 6 channels, stride 1, no padding"
    shape: tuple[int, ...]
    parameters: int
    inputs: tuple[int, ...]
    has_units: bool


@dataclass(frozen=True, slots=True)
class LayerMaps:
    """What a layer answers: `values` `[M, H, W] float32`, one map for each of `channels`. A layer without rows and
    columns is one map of one row."""

    layer: int
    channels: tuple[int, ...]
    values: NDArray[np.float32]
    strength: NDArray[np.float32]  # `[M]`: the mean of each map's absolute values


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Which pixels speak for a class: `values` `[H, W] float32`, above 0 for it, to be drawn over the whole image.
    `exact`: it is the model's own computation, and the mean of `values` plus `bias` is `score`."""

    method: str
    exact: bool
    class_index: int
    label: str
    values: NDArray[np.float32]
    score: float
    bias: float
    images: int  # that were computed for it
    compute_us: int
    detail: str


@dataclass(frozen=True, slots=True)
class UnitStep:
    """A layer behind a unit at the place that reads it: its inputs `[H, W] float32`, and its output."""

    layer: int
    y: int
    x: int
    inputs: NDArray[np.float32]
    value: float


@dataclass(frozen=True, slots=True)
class Unit:
    """How one number comes about: `result` is the `operation` ("sum", "max", "mean" or "function") of `inputs`, times
    `weights` where there are some, plus `bias`.

    `inputs` and `weights` are `[C, H, W] float32`, from channel `first_channel` on and at `rows` and `columns` of the
    layer before; those outside of it are padding. Of more terms than the server lists they are `[N]`, the strongest
    ones, `places` in the window, and `rest` is what the others add up to. `receptive_field` is top, left, bottom, right
    (both exclusive) of what the unit sees of the image.
    """

    layer: int
    channel: int
    y: int
    x: int
    operation: str
    receptive_field: tuple[int, int, int, int]
    inputs: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    first_channel: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    places: tuple[int, ...]
    rest: float
    bias: float
    result: float
    engine_value: float  # what the engine answered there; equal but for rounding
    next: tuple[UnitStep, ...]

    @property
    def products(self) -> NDArray[np.float64]:
        """Inputs times weights, of the shape of `inputs`; the inputs where there are no weights."""
        inputs = self.inputs.astype(np.float64)
        return inputs if self.weights is None else inputs * self.weights


@dataclass(frozen=True, slots=True)
class ExplainTiming:
    """Where the time went, in microseconds: `total_us = decode_us + queue_us + compute_us`. `open_us` is what starting
    the model for it took, 0 where that was done; `images` is how many were computed."""

    total_us: int
    decode_us: int
    queue_us: int
    compute_us: int
    open_us: int
    images: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `explain` answers. `image` is what the model saw, `[H, W, C] uint8`."""

    model: str
    version: int
    classes: tuple[Class, ...]  # the five most probable
    image: NDArray[np.uint8]
    layers: tuple[Layer, ...]
    maps: tuple[LayerMaps, ...]
    heat_map: HeatMap | None
    unit: Unit | None
    timing: ExplainTiming


def request(part: EncodedPart | PixelsPart, options: ExplainOptions) -> pb.ExplainRequest:
    """Raises InvalidInput where the options cannot be put into a request."""
    try:
        message = pb.ExplainRequest(model=options.model, version=options.version)
        if options.heat_map:
            message.heat_map.CopyFrom(pb.HeatMapRequest(class_index=options.class_index, method=options.method))
        if options.maps is not False:
            message.maps.CopyFrom(_maps_request(options.maps, options))
        if options.unit is not None:
            layer, channel, y, x = options.unit
            message.unit.CopyFrom(pb.UnitRequest(layer=layer, channel=channel, y=y, x=x))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{options} cannot be sent ({error})") from error
    if isinstance(part, PixelsPart):
        message.pixels = part.data
    else:
        message.encoded = part.files[0]
    return message


def _maps_request(maps: bool | Sequence[int], options: ExplainOptions) -> pb.MapsRequest:
    layers = [] if maps is True else list(maps or ())
    if maps is not True and not layers:
        raise ValueError("maps names no layer; expected True for all of them, or their numbers")
    return pb.MapsRequest(
        layers=layers, channels=options.map_channels, side=options.map_side, bytes=_MAX_MAP_BYTES, float32=True
    )


def explanation(message: pb.ExplainResponse) -> Explanation:
    """The answer of a response."""
    seen = message.image
    return Explanation(
        model=message.model,
        version=message.version,
        classes=tuple(make_class(each.label, each.index, each.probability) for each in message.classes),
        image=np.frombuffer(seen.pixels, np.uint8).reshape(seen.height, seen.width, seen.channels),
        layers=tuple(map(_layer, message.layers)),
        maps=tuple(map(_maps, message.maps)),
        heat_map=_heat_map(message.heat_map) if message.HasField("heat_map") else None,
        unit=_unit(message.unit) if message.HasField("unit") else None,
        timing=ExplainTiming(**_fields(message.timing, ExplainTiming.__slots__)),
    )


def _layer(message: pb.Layer) -> Layer:
    plain = _fields(message, ("index", "name", "kind", "op", "detail", "parameters", "has_units"))
    return Layer(shape=tuple(message.shape), inputs=tuple(message.inputs), **plain)


def _maps(message: pb.LayerMaps) -> LayerMaps:
    values = np.frombuffer(message.values, "<f4").reshape(-1, message.height, message.width)
    return LayerMaps(message.layer, tuple(message.channels), values, np.array(message.strength, np.float32))


def _heat_map(message: pb.HeatMap) -> HeatMap:
    plain = _fields(message, [name for name in HeatMap.__slots__ if name != "values"])
    return HeatMap(values=np.frombuffer(message.values, "<f4").reshape(message.height, message.width), **plain)


def _unit(message: pb.Unit) -> Unit:
    shape = (-1,) if message.places else (message.channels, message.height, message.width)
    box = message.receptive_field
    plain = _fields(
        message,
        ("layer", "channel", "y", "x", "operation", "first_channel", "rest", "bias", "result", "engine_value"),
    )
    return Unit(
        receptive_field=(box.top, box.left, box.bottom, box.right),
        inputs=np.frombuffer(message.inputs, "<f4").reshape(shape),
        weights=np.frombuffer(message.weights, "<f4").reshape(shape) if message.weights else None,
        rows=tuple(message.rows),
        columns=tuple(message.columns),
        places=tuple(message.places),
        next=tuple(map(_step, message.next)),
        **plain,
    )


def _step(message: pb.UnitStep) -> UnitStep:
    inputs = np.array(message.inputs, np.float32)
    shape = (message.height, message.width) if inputs.size else (0, 0)
    return UnitStep(message.layer, message.y, message.x, inputs.reshape(shape), message.value)


def _fields(message: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names}
