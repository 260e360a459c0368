"""The OpenAPI document says what the server does."""

from __future__ import annotations

import re
from typing import Any

from tests.server.conftest import Server
from tests.server.http.asking import PIXELS, ask, png


def test_each_route_is_in_the_document_and_each_path_is_a_route(server: Server) -> None:
    document = ask(server.http_port, "GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1.")
    written = {
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations.keys() - {"parameters"}
    }
    rest = server.app._rest
    routes = {
        (method.lower(), route.path) for route in rest.routes for method in route.methods if route not in rest.pages
    }
    assert written == routes


def test_all_references_lead_somewhere(server: Server) -> None:
    answer = ask(server.http_port, "GET", "/openapi.json")
    names = set(re.findall(rb'"#/components/schemas/(\w+)"', answer.body))
    assert {name.decode() for name in names} == answer.json["components"]["schemas"].keys()


def test_statuses_and_members_of_real_answers_are_documented(server: Server) -> None:
    document = ask(server.http_port, "GET", "/openapi.json").json
    file = png(PIXELS[0])
    for method, path, template, body in (
        ("POST", "/v1/models/echo/classify", "/v1/models/{model}/classify", file),
        ("POST", "/v1/models/echo/classify", "/v1/models/{model}/classify", b"no image"),
        ("POST", "/v1/models/echo/classify?top_k=x", "/v1/models/{model}/classify", file),
        ("POST", "/v1/models/no/classify", "/v1/models/{model}/classify", file),
        ("GET", "/v1/models", "/v1/models", None),
        ("GET", "/v1/models/no", "/v1/models/{model}", None),
        ("POST", "/v2/models/echo/infer", "/v2/models/{model}/infer", b"{}"),
        ("GET", "/v2/models/skewed/ready", "/v2/models/{model}/ready", None),
        ("POST", "/v2/repository/index", "/v2/repository/index", b""),
        ("POST", "/v2/repository/models/echo/load", "/v2/repository/models/{model}/load", b""),
        ("GET", "/readyz", "/readyz", None),
        ("GET", "/metrics", "/metrics", None),
    ):
        answer = ask(server.http_port, method, path, body)
        responses: dict[str, Any] = document["paths"][template][method.lower()]["responses"]
        content = responses[str(answer.status)]["content"]
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content, (path, answer)
        reference = content[kind]["schema"].get("$ref", "")
        if reference:
            schema = document["components"]["schemas"][reference.rpartition("/")[2]]
            assert set(schema["required"]) <= answer.json.keys()
