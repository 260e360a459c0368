"""The attacks over HTTP reach a server, and those that try to get more than an answer get none."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from bench.attacks import victims
from bench.attacks.attackers import Target
from bench.attacks.http_attackers import HTTP_ATTACKS
from bench.processes import Server, covey_server
from bench.raw_http1 import Conversation
from bench.raw_http2 import Place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attacks")
    models = victims.write(folder / "models", ("small",))
    with covey_server(models, "auto", folder / "log", ["--default-model", "small"]) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("path traversal", r"[\d,]+ x 404"),
        ("header injection", r"400, closed.*; injected 0 times"),
        ("smuggling", r"^[\d,]+ x 400, closed.*; smuggled 0 times"),
        ("sent ahead", r"429, closed|200"),
        ("hung up", r"[\d,]+ hung up"),
        ("deep JSON", r"^[\d,]+ x 400$"),
        ("endless heads", r"^[\d,]+ x 431, closed"),
    ],
)
def test_an_attack_ends_in_time_and_gets_what_it_should(server: Server, name: str, expected: str) -> None:
    place = Place.of(server.http_target)
    attack = HTTP_ATTACKS[name]
    outcome = attack.run(Target(place, place, place, 0.5))
    assert re.search(expected, outcome), outcome
    if name == "path traversal":
        assert "200" not in outcome
    with Conversation(place) as conversation:
        conversation.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        conversation.read(10, 1)
        assert conversation.statuses == ["200"]
