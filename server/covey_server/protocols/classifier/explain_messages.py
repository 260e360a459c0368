"""Reads what an ExplainRequest asks for, and writes the parts of an ExplainResponse. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import InvalidRequest
from covey_server.explaining import heat, maps, units
from covey_server.explaining.describing import describe
from covey_server.explaining.heat import HeatMap
from covey_server.explaining.inside import Inside
from covey_server.explaining.layers import Layer
from covey_server.explaining.units import Place, Unit
from covey_server.inference.served_model import ServedModel

TOP_K = 5
_FLOAT_BYTES = 4
_MAX_LAYERS_BYTES = 1 << 20  # of all that is said beside maps and heat map; 1,000 layers have 200 KB


def require_valid(message: pb.ExplainRequest, model: ServedModel) -> None:
    """Finds what is wrong with a request before anything waits; places in layers are looked at later, since only the
    opened model tells them. Raises InvalidRequest."""
    asked = message.maps
    for name, value, limit in (("side", asked.side, maps.MAX_SIDE), ("bytes", asked.bytes, maps.MAX_BYTES)):
        if value > limit:
            raise InvalidRequest(f"maps.{name} is {value:,}; expected at most {limit:,}, or 0 for the default")
    method, classes = message.heat_map.method, len(model.labels)
    if method not in ("", *heat.METHODS):
        raise InvalidRequest(f"heat_map.method is {method[:64]!r}; expected {' or '.join(heat.METHODS)}, or nothing")
    if message.heat_map.HasField("class_index") and message.heat_map.class_index >= classes:
        raise InvalidRequest(
            f"heat_map.class_index is {message.heat_map.class_index}; expected 0 to {classes - 1}, as the labels of "
            f"model {model.name!r} are listed"
        )
    if message.WhichOneof("image") is None and any(map(message.HasField, ("maps", "heat_map", "unit"))):
        raise InvalidRequest(
            "the request asks for maps, a heat map or a unit and holds no image; set encoded or pixels"
        )


def pixels_of(data: bytes, model: ServedModel) -> NDArray[np.uint8]:
    """`[1, H, W, C] uint8`. Raises InvalidRequest unless they are one image of the model's size."""
    if len(data) != model.image_bytes:
        height, width, channels = model.input_shape
        raise InvalidRequest(
            f"pixels has {len(data):,} bytes; model {model.name!r} expects {height} x {width} x {channels} (height x "
            f"width x channels), {model.image_bytes:,} bytes"
        )
    return np.frombuffer(data, np.uint8).reshape(1, *model.input_shape)


def answer_bytes(message: pb.ExplainRequest, model: ServedModel) -> int:
    """How large the answer can be."""
    asked = (message.maps.bytes or maps.DEFAULT_BYTES) if message.HasField("maps") else 0
    return asked + model.image_bytes + _MAX_LAYERS_BYTES


def write_layers(inside: Inside) -> list[pb.Layer]:
    """All layers of a model."""
    return [
        pb.Layer(
            index=layer.index,
            name=layer.name,
            kind=layer.kind,
            op=layer.op,
            detail=describe(layer, inside.shapes),
            shape=inside.shapes[layer.index],
            parameters=layer.parameters,
            inputs=layer.inputs,
            has_units=units.can_explain(inside, layer),
            output=layer.output,
        )
        for layer in inside.layers
    ]


def write_classes(probabilities: NDArray[np.float32], model: ServedModel) -> list[pb.Class]:
    """The most probable classes of `[K]`."""
    best = np.argsort(-probabilities, kind="stable")[:TOP_K].tolist()
    return [pb.Class(label=model.labels[each], index=each, probability=float(probabilities[each])) for each in best]


def write_maps(layer: Layer, answer: NDArray[np.float32], asked: pb.MapsRequest, max_bytes: int) -> pb.LayerMaps | None:
    """A layer's maps; None if not even one fits."""
    value_bytes = _FLOAT_BYTES if asked.float32 else 1
    found = maps.choose(answer, asked.channels, asked.side or maps.DEFAULT_SIDE, max_bytes, value_bytes)
    if found is None:
        return None
    values, low, high = maps.to_bytes(found.values)
    return pb.LayerMaps(
        layer=layer.index,
        channels=found.channels,
        height=found.values.shape[1],
        width=found.values.shape[2],
        values=_floats(found.values) if asked.float32 else values,
        low=low.tolist(),
        high=high.tolist(),
        strength=found.strength.tolist(),
        encoding="float32" if asked.float32 else "uint8",
    )


def write_heat_map(found: HeatMap, class_index: int, label: str, compute_us: int) -> pb.HeatMap:
    """A heat map."""
    return pb.HeatMap(
        method=found.method,
        exact=found.exact,
        class_index=class_index,
        label=label,
        height=found.values.shape[0],
        width=found.values.shape[1],
        values=_floats(found.values),
        low=float(found.values.min()),
        high=float(found.values.max()),
        score=found.score,
        bias=found.bias,
        images=found.images,
        compute_us=compute_us,
        detail=found.detail,
    )


def place_of(message: pb.UnitRequest) -> Place:
    """The place that is asked for."""
    return Place(message.layer, message.channel, message.y, message.x)


def write_unit(unit: Unit) -> pb.Unit:
    """A unit; of more terms than are listed, the strongest."""
    top, left, bottom, right = unit.receptive_field
    channels, height, width = unit.inputs.shape
    products = unit.products
    inputs, weights = unit.inputs.ravel(), None if unit.weights is None else unit.weights.ravel()
    places: list[int] = []
    rest = 0.0
    if inputs.size > units.MAX_TERMS:
        terms = products.ravel()
        listed = np.sort(np.argsort(-np.abs(terms), kind="stable")[: units.MAX_TERMS])
        places = listed.tolist()
        rest = float(terms.sum() - terms[listed].sum())
        inputs, weights = inputs[listed], None if weights is None else weights[listed]
    return pb.Unit(
        layer=unit.place.layer,
        channel=unit.place.channel,
        y=unit.place.y,
        x=unit.place.x,
        operation=unit.operation,
        receptive_field=pb.Box(top=top, left=left, bottom=bottom, right=right),
        channels=channels,
        height=height,
        width=width,
        first_channel=unit.first_channel,
        rows=unit.rows,
        columns=unit.columns,
        inputs=_floats(inputs),
        weights=b"" if weights is None else _floats(weights),
        places=places,
        rest=rest,
        bias=unit.bias,
        result=unit.result,
        engine_value=unit.engine_value,
        next=[
            pb.UnitStep(
                layer=step.place.layer,
                y=step.place.y,
                x=step.place.x,
                height=step.inputs.shape[0],
                width=step.inputs.shape[1],
                inputs=step.inputs.ravel().tolist(),
                value=step.value,
            )
            for step in unit.next
        ],
        channel_sums=products.sum(axis=(1, 2)).tolist() if weights is not None else [],
    )


def _floats(values: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
