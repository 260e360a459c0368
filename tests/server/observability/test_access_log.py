"""The access log of a running server, on each front and over HTTP: who gets a line, and what stands in it."""

from __future__ import annotations

import json
import logging
import queue
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import ask_all, element
from tests.server.http.asking import ask

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.observability import access_log
from covey_server.observability.log_lines import JsonLines, TextLines

Lines = queue.Queue[logging.LogRecord]
PIXELS = np.zeros((2, 4, 4, 1), np.uint8)
TIMES = ("decode_ms", "queue_ms", "compute_ms", "answer_ms")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines of the access log, as they are written."""
    found: Lines = queue.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.put(record)

    handler = Handler()
    before = access_log.log.level
    access_log.log.addHandler(handler)
    access_log.log.setLevel(logging.INFO)
    yield found
    access_log.log.setLevel(before)
    access_log.log.removeHandler(handler)


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    write_echo_model(tmp_path, "echo")
    return tmp_path


def as_json(line: logging.LogRecord) -> dict[str, Any]:
    """The line as programs get it."""
    found: dict[str, Any] = json.loads(JsonLines().format(line))
    return found


def write_all(server: Server) -> None:
    """Has all lines written that there are."""
    recording = server.app._observers.recording
    assert recording is not None
    recording.stop()


def classify(server: Server, request_id: str = "", model: str = "echo") -> None:
    call = server.channel.unary_unary(
        "/covey.v1.Classifier/Classify",
        request_serializer=pb.ClassifyRequest.SerializeToString,
        response_deserializer=pb.ClassifyResponse.FromString,
    )
    request = pb.ClassifyRequest(model=model, pixels=pb.Pixels(data=PIXELS.tobytes()))
    call(request, timeout=20, metadata=(("x-request-id", request_id),) if request_id else ())


def test_all_calls_get_a_line_with_times_that_add_up(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="all")
    classify(server, "r-1")

    line = lines.get(timeout=20)
    found = as_json(line)
    assert found["method"] == "/covey.v1.Classifier/Classify"
    assert found["status"] == "OK"
    assert found["level"] == "info"
    assert (found["model"], found["version"], found["images"]) == ("echo", 1, 2)
    assert found["request_id"] == "r-1"
    assert found["batch_size"] >= 2
    assert found["request_bytes"] > PIXELS.nbytes
    assert found["answer_bytes"] > 0
    assert sum(found[name] for name in TIMES) == pytest.approx(found["total_ms"], abs=0.01)
    assert found["peer"] in TextLines().format(line)
    assert "/covey.v1.Classifier/Classify OK echo/1 images=2" in line.getMessage()


def test_calls_that_came_together_each_get_their_line(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="all")
    names = [f"r-{number}" for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: classify(server, name), names))

    found = [as_json(lines.get(timeout=20)) for _ in names]
    assert sorted(line["request_id"] for line in found) == sorted(names)
    assert {line["status"] for line in found} == {"OK"}


def test_errors_only(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="errors")
    classify(server, "fine")
    with pytest.raises(grpc.RpcError):
        classify(server, "wrong", model="nothing")

    found = as_json(lines.get(timeout=20))
    assert (found["request_id"], found["status"], found["level"]) == ("wrong", "NOT_FOUND", "warning")
    assert "nothing" in found["error"]
    write_all(server)
    assert lines.empty()


def test_errors_of_calls_that_came_together(
    start_server: StartServer, models: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast way makes calls of a burst when its batch fails."""
    server = start_server(models, access_log="errors")
    for _ in range(3):  # from then on the form is known
        classify(server)
    model = server.app.repository.catalog.find("echo", 0)

    def fail(*_: object) -> None:
        raise RuntimeError("the engine is broken, for the test")

    monkeypatch.setattr(model.engine, "run", fail)
    with pytest.raises(grpc.RpcError):
        classify(server, "r-9")
    found = as_json(lines.get(timeout=20))
    assert (found["status"], found["level"], found["model"]) == ("INTERNAL", "error", "echo")
    assert found["request_id"] == "r-9"


def test_a_share_of_the_calls(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="sampled", access_log_rate=0.25)
    for _ in range(400):
        classify(server)
    write_all(server)
    assert 50 <= lines.qsize() <= 150  # 100 are expected, with a standard deviation of 9


@pytest.mark.parametrize("front", ["native"], indirect=True)
def test_http(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="all")
    ask(server.http_port, "POST", "/v1/models/echo/classify?top_k=1", b"no image", {"X-Request-Id": "r-7"})
    found = as_json(lines.get(timeout=20))
    assert (found["http_status"], found["status"]) == (422, "INVALID_ARGUMENT")
    assert found["method"] == "POST /v1/models/echo/classify?top_k=1"
    assert found["request_id"] == "r-7"

    ask(server.http_port, "GET", "/v1/nothing\x1b[31m".replace("\x1b", "%1b"))
    line = lines.get(timeout=20)
    assert as_json(line)["http_status"] == 404
    assert "GET /v1/nothing%1b[31m 404" in line.getMessage()

    body = json.dumps({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [2, 4, 4, 1], "data": [0] * 32}]})
    ask(server.http_port, "POST", "/v2/models/echo/infer", body.encode())
    found = as_json(lines.get(timeout=20))
    assert (found["http_status"], found["status"], found["images"]) == (200, "OK", 2)
    assert found["request_id"]


@pytest.mark.parametrize("front", ["native"], indirect=True)
def test_streams(start_server: StartServer, models: Path, lines: Lines) -> None:
    server = start_server(models, access_log="all")
    ask_all(server, [element(number) for number in range(3)])
    found = [as_json(lines.get(timeout=20)) for _ in range(3)]
    assert {line["method"] for line in found} == {"/covey.v1.Classifier/ClassifyStream"}
    assert {line["status"] for line in found} == {"OK"}


def test_no_line_is_more_than_one(lines: Lines) -> None:
    """A caller's text cannot end a line or steer a terminal."""
    line = logging.LogRecord("x", logging.INFO, "", 0, "two\nlines", (), None)
    assert "\n" not in JsonLines().format(line)
    assert re.fullmatch(r"[ -~]+", access_log._plain("GET /a\x1b[31m\nb"))
