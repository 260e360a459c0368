"""/v1/models/NAME/explain and /layers: Explain in JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from tests.server.conftest import Server, running_servers
from tests.server.explaining import networks
from tests.server.http.asking import ask
from tests.server.protocols.test_explain import PIXELS, explain, png

from covey_proto.v1 import classifier_pb2 as pb

PATH = "/v1/models/plain/explain"


@pytest.fixture(scope="module")
def server(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("explain-http")
    networks.plain(folder)
    with running_servers(front) as start:
        yield start(folder)


def post(server: Server, **query: str) -> dict[str, object]:
    answer = ask(server.http_port, "POST", f"{PATH}?{urlencode(query)}", png(), {"Content-Type": "image/png"})
    assert answer.status == 200, answer.body
    found: dict[str, object] = answer.json
    return found


def test_the_answer_is_that_of_grpc(server: Server) -> None:
    found = post(server, maps="1,3", map_channels="2", map_side="6", map_encoding="float32", heat="2", unit="1,2,3,4")
    expected = explain(
        server,
        maps=pb.MapsRequest(layers=[1, 3], channels=2, side=6, float32=True),
        heat_map=pb.HeatMapRequest(class_index=2),
        unit=pb.UnitRequest(layer=1, channel=2, y=3, x=4),
    )
    assert json.loads(json.dumps(found)) == found
    heat_map, unit, image = found["heat_map"], found["unit"], found["image"]
    assert isinstance(heat_map, dict)
    assert isinstance(unit, dict)
    assert isinstance(image, dict)
    assert base64.b64decode(heat_map["values"]) == expected.heat_map.values
    assert (heat_map["method"], heat_map["class_index"]) == ("occlusion", 2)
    assert base64.b64decode(unit["weights"]) == expected.unit.weights
    assert unit["engine_value"] == pytest.approx(expected.unit.engine_value)
    assert [step["layer"] for step in unit["next"]] == [2, 3]
    assert base64.b64decode(image["pixels"]) == PIXELS.tobytes()
    maps = found["maps"]
    assert isinstance(maps, list)
    assert [base64.b64decode(each["values"]) for each in maps] == [each.values for each in expected.maps]
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in expected.layers]  # type: ignore[attr-defined]


def test_what_is_not_asked_for_is_not_there(server: Server) -> None:
    found = post(server)
    assert found["maps"] == []
    assert not found.keys() & {"heat_map", "unit"}
    assert len(found["classes"]) == 5  # type: ignore[arg-type]


def test_all_maps_are_bytes_by_default(server: Server) -> None:
    maps = post(server, maps="all")["maps"]
    assert isinstance(maps, list)
    assert [each["layer"] for each in maps] == list(range(12))
    for each in maps:
        shape = (len(each["channels"]), each["height"], each["width"])
        assert len(base64.b64decode(each["values"])) == np.prod(shape)
        assert len(each["low"]) == len(each["high"]) == len(each["channels"])


def test_the_layers_need_no_image(server: Server) -> None:
    answer = ask(server.http_port, "GET", "/v1/models/plain/layers")
    assert answer.status == 200
    assert [layer["kind"] for layer in answer.json["layers"]][:3] == ["input", "convolution", "activation"]
    assert "image" not in answer.json


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("maps=1,x", 400, "maps is 'x'; expected a whole number"),
        ("unit=1,2,3", 400, "unit is '1,2,3'; expected LAYER,CHANNEL,Y,X"),
        ("unit=1,2,3,4,5", 400, "unit has 5 numbers; expected at most 4"),
        ("heat=best", 400, "heat is 'best'"),
        ("map_encoding=float16&maps=all", 400, "map_encoding is 'float16'"),
        ("top_k=1", 400, "the query has the parameter 'top_k'"),
        ("version=7", 404, "version 7 of model 'plain' is not served"),
    ],
)
def test_wrong_queries_are_told(server: Server, query: str, status: int, text: str) -> None:
    answer = ask(server.http_port, "POST", f"{PATH}?{query}", png(), {"Content-Type": "image/png"})
    assert answer.status == status
    assert text in answer.error


def test_one_image_is_explained_at_a_time(server: Server) -> None:
    body = json.dumps({"images": [base64.b64encode(png()).decode()] * 2})
    answer = ask(server.http_port, "POST", PATH, body.encode(), {"Content-Type": "application/json"})
    assert answer.status == 400
    body = json.dumps({"image": base64.b64encode(png()).decode()})
    assert ask(server.http_port, "POST", PATH, body.encode(), {"Content-Type": "application/json"}).status == 200


def test_a_file_that_is_no_image_is_told(server: Server) -> None:
    answer = ask(server.http_port, "POST", PATH, b"no image", {"Content-Type": "image/png"})
    assert answer.status == 422
