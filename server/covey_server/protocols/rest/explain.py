"""The routes that look inside a model: covey.v1's Explain in JSON."""

from __future__ import annotations

from collections.abc import Mapping

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.calls.service import Handler
from covey_server.errors import InvalidRequest
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.images import read_images, slow_bytes
from covey_server.protocols.rest.large_bodies import LargeBodies, aside
from covey_server.protocols.rest.settings import MAX_INT, MAX_UINT32, number, require_query

_MAX_LAYERS = 4096  # in one request
_SETTINGS = (
    "version", "maps", "map_channels", "map_side", "map_bytes", "map_encoding", "heat", "heat_method", "unit",
)  # fmt: skip


class ExplainRoutes:
    """Hands over to the service covey.v1.Classifier."""

    def __init__(self, explain: Handler, large: LargeBodies) -> None:
        self._handler = explain
        self._large = large

    @property
    def routes(self) -> tuple[Route, ...]:
        model = "/v1/models/{model}"
        explain = aside(self._large, self._explain, slow_bytes)
        return (
            Route(("GET",), f"{model}/layers", for_http(self._layers)),
            Route(("POST", "PUT"), f"{model}/explain", for_http(explain)),
        )

    def _layers(self, call: HttpCall) -> None:
        require_query(call, ("version",))
        version = number(call.query, "version", MAX_INT)
        request = pb.ExplainRequest(model=call.arguments["model"], version=version)
        call.hand_over(self._handler, request.SerializeToString(), _write)

    def _explain(self, call: HttpCall) -> None:
        require_query(call, _SETTINGS)
        images = read_images(call, ("image",))
        if len(images.files) != 1:
            raise InvalidRequest(f"{len(images.files)} files were sent; one image is explained at a time")
        query = call.query
        request = pb.ExplainRequest(
            model=call.arguments["model"],
            version=number(query, "version", MAX_INT),
            encoded=images.files[0],
            maps=_maps(query),
            heat_map=_heat_map(query),
            unit=_unit(query),
        )
        call.hand_over(self._handler, request.SerializeToString(), _write)


def _maps(query: Mapping[str, str]) -> pb.MapsRequest | None:
    encoding = query.get("map_encoding", "uint8")
    if encoding not in ("uint8", "float32"):
        raise InvalidRequest(f"map_encoding is {encoding[:64]!r}; expected 'uint8' or 'float32'")
    asked = query.get("maps")
    if asked is None:
        return None
    return pb.MapsRequest(
        layers=[] if asked == "all" else _numbers("maps", asked, _MAX_LAYERS),
        channels=number(query, "map_channels", MAX_UINT32),
        side=number(query, "map_side", MAX_UINT32),
        bytes=number(query, "map_bytes", MAX_UINT32),
        float32=encoding == "float32",
    )


def _heat_map(query: Mapping[str, str]) -> pb.HeatMapRequest | None:
    if "heat" not in query:
        return None
    made = pb.HeatMapRequest(method=query.get("heat_method", ""))
    if query["heat"] != "top":
        made.class_index = number(query, "heat", MAX_UINT32)
    return made


def _unit(query: Mapping[str, str]) -> pb.UnitRequest | None:
    if "unit" not in query:
        return None
    found = _numbers("unit", query["unit"], 4)
    if len(found) != 4:
        raise InvalidRequest(f"unit is {query['unit'][:64]!r}; expected LAYER,CHANNEL,Y,X")
    layer, channel, y, x = found
    return pb.UnitRequest(layer=layer, channel=channel, y=y, x=x)


def _numbers(name: str, text: str, most: int) -> list[int]:
    parts = text.split(",")
    if len(parts) > most:
        raise InvalidRequest(f"{name} has {len(parts):,} numbers; expected at most {most:,}")
    return [number({name: part}, name, MAX_UINT32) for part in parts]


def _write(payload: bytes) -> bytes:
    return json_text.compact(json_text.as_dict(pb.ExplainResponse.FromString(payload)))
