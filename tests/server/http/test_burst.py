"""Requests that came together are answered as each of them would be alone: the same bytes, for any requests."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, running_servers
from tests.server.http.asking import PIXELS, TIMEOUT_S, png
from tests.waiting import wait_until

from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.fronts.http import known_request
from covey_server.fronts.http.front import Answer, HttpFront
from covey_server.fronts.http.known_request import KnownRequests
from covey_server.fronts.security import Security
from covey_server.protocols.rest.infer_answers import BinaryAnswers
from covey_server.protocols.wire_format import cut_out

LEARNING = 3  # times: the line and headers are known, then the message's form
NAN_AT = 77  # a last pixel for which the model `echo` answers NaN
SHAPES = {"echo": (4, 4, 1), "colour": (2, 3, 3)}
TIMES = re.compile(rb'"(\w+_us|batch_size)":\d+|[\d.]+ ms|image \d of \d: ')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    write_echo_model(models, "echo", nan_at=NAN_AT)
    write_echo_model(models, "colour", version=7, shape=SHAPES["colour"], classes=18)
    with running_servers("native") as start:
        yield start(models, default_model="echo", max_batch_size=8, cors_origin="http://c")


class HandDriven:
    """A front of the server's services that takes what has come when it is told, on the calling thread."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.counted: Counter[str] = Counter()  # by the metrics, during the last `ask`
        http = server.app.http
        assert http is not None
        routes = [route for route, _ in http.router._routes]
        self.front = HttpFront(
            "127.0.0.1", 0, routes, http._services, http.limits, Security(), http.origins, http.hosts
        )
        self.front._intake._threads.append(threading.current_thread())
        self._callers: list[socket.socket] = []
        self.together: list[int] = []  # how many answers were written at once
        write = self.front._write

        def count(answers: Sequence[Answer]) -> None:
            self.together.append(len(answers))
            write(answers)

        self.front._write = count  # type: ignore[method-assign]

    def connect(self, count: int) -> list[socket.socket]:
        found = []
        for _ in range(count):
            before = self.front.open
            found.append(socket.create_connection(("127.0.0.1", self.front.port), timeout=TIMEOUT_S))
            while self.front.open == before:
                self.front._take()
        self._callers += found
        return found

    def take(self, answers: int = 1) -> None:
        """Until so many more answers have left."""
        answers += sum(self.together)
        while sum(self.together) < answers:
            self.front._take()

    def ask(self, requests: Sequence[bytes], *, known: bool = False) -> list[bytes]:
        """Sends all together, each on a connection of its own; returns all that comes back. `known`: of each the line
        and headers came before."""
        for request in requests if known else ():
            (connection,) = self.connect(1)
            for _ in range(LEARNING):
                connection.sendall(request)
                self.take()
                if b"Connection: close" in connection.recv(1 << 20):
                    break
            self.close([connection])
        connections, before = self.connect(len(requests)), totals(self.server)
        self.together.clear()
        for connection, request in zip(connections, requests, strict=True):
            connection.sendall(request)
        self.take(len(requests))
        answers = [connection.recv(1 << 20) for connection in connections]
        self.close(connections)
        self.counted = totals(self.server) - before
        return answers

    def __enter__(self) -> HandDriven:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._callers:
            connection.close()
        self.front._intake._threads.clear()  # it waits for all of them
        self.front.stop(0.0)

    def close(self, connections: Sequence[socket.socket]) -> None:
        for connection in connections:
            connection.close()
        while self.front.open:
            self.front._take()


@pytest.fixture
def front(server: Server) -> Iterator[HandDriven]:
    with HandDriven(server) as driven:
        yield driven


def comparable(answer: bytes) -> object:
    """An answer without its id, its date, and what two runs do not have in common."""
    head, _, body = answer.partition(b"\r\n\r\n")
    own = re.search(rb"X-Request-Id: ([0-9a-f]{12}-[0-9a-f]+)\r\n", head)
    if own is not None:
        if own[1] in body:
            head = re.sub(rb"Content-Length: \d+", b"", head)
        head, body = head.replace(own[1], b"ID"), body.replace(own[1], b"ID")
    head = re.sub(rb"Date: [^\r]+", b"", head)
    if b"application/x-protobuf" in head:
        assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body)  # type: ignore[index]
        cut = cut_out(body, (pb.ClassifyResponse.TIMING_FIELD_NUMBER,))
        assert cut is not None
        return re.sub(rb"Content-Length: \d+", b"", head), cut[0]
    if TIMES.search(body):
        head = re.sub(rb"Content-Length: \d+", b"", head)
    return head, TIMES.sub(b"", body)


def http(path: str, body: bytes, headers: str = "", line_end: str = "HTTP/1.1", method: str = "POST") -> bytes:
    head = f"{method} {path} {line_end}\r\nHost: a\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def pixels(draw: st.DrawFn, size: int) -> bytes:
    found = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 70, size, np.uint8)
    if size and draw(st.integers(0, 9)) == 0:
        found[-1] = NAN_AT
    return found.tobytes()


@dataclass(frozen=True)
class Model:
    name: str
    version: str
    shape: tuple[int, int, int]


MODELS = [
    Model("echo", "", (4, 4, 1)),
    Model("echo", "1", (4, 4, 1)),
    Model("colour", "7", (2, 3, 3)),
    Model("echo", "9", (4, 4, 1)),
    Model("none", "", (4, 4, 1)),
]
often = st.sampled_from([True] * 9 + [False])


@st.composite
def infer(draw: st.DrawFn) -> bytes:
    model = draw(st.sampled_from(MODELS))
    count = draw(st.sampled_from([1, 1, 1, 2, 9]))
    size = count * int(np.prod(model.shape))
    sent = pixels(draw, size + (not draw(often)))
    tensor = {"name": "images", "shape": [count, *model.shape], "datatype": "UINT8"}
    text: dict[str, object] = {"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}
    if is_json := not draw(often):
        text["inputs"] = [tensor | {"data": list(sent)}]
    if draw(st.booleans()):
        text["parameters"] = {"binary_data_output": True}
    if not draw(often):
        text["id"] = draw(st.sampled_from(["mine", "yours"]))
    if not draw(often):
        text["outputs"] = [{"name": "probabilities", "parameters": {"classification": 2, "binary_data": True}}]
    head = json.dumps(text).encode()
    path = f"/v2/models/{model.name}" + (f"/versions/{model.version}" if model.version else "")
    length = len(head) + draw(st.sampled_from([0] * 9 + [1]))
    headers = "" if is_json else f"Inference-Header-Content-Length: {length}\r\n"
    return http(f"{path}/infer{draw(queries)}", head if is_json else head + sent, draw(more_headers) + headers)


@st.composite
def classify(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        body = png(PIXELS[draw(st.integers(0, 3))]) + b"x" * (not draw(often))
        path = f"/v1/models/{draw(st.sampled_from(['echo', 'none']))}/classify{draw(queries)}"
        return http(path, body, draw(more_headers))
    model = draw(st.sampled_from(MODELS))
    request = pb.ClassifyRequest(model=model.name, version=int(model.version or 0))
    request.pixels.data = pixels(draw, int(np.prod(model.shape)))
    if draw(st.booleans()):
        request.top_k = 3
    kind = draw(st.sampled_from(["application/x-protobuf"] * 5 + ["text/plain"]))
    headers = draw(more_headers) + f"Content-Type: {kind}\r\n"
    return http(f"/covey.v1.Classifier/Classify{draw(queries)}", request.SerializeToString(), headers)


queries = st.sampled_from(["", "", "", "?timeout_ms=60000", "?nobody=1"])
more_headers = st.sampled_from(
    ["", "", "", "X-Request-Id: 7\r\n", "Origin: http://a\r\n", "Origin: http://b\r\n", "Origin: http://c\r\n"]
)
others = st.sampled_from(
    [
        http("/healthz", b"", method="GET"),
        http("/healthz", b"", method="HEAD"),
        http("/healthz", b"", "Connection: keep-alive\r\n", "HTTP/1.0", "GET"),
        http("/nothing", b"12"),
    ]
)


@st.composite
def bursts(draw: st.DrawFn) -> list[bytes]:
    requests = draw(st.lists(infer() | infer() | classify() | others, min_size=1, max_size=3))
    requests = [request for request in requests for _ in range(draw(st.sampled_from([1, 1, 2, 4])))]
    return draw(st.permutations(requests))


def totals(server: Server) -> Counter[str]:
    """What the metrics have counted."""
    server.wait_until_idle()
    figures: Counter[str] = Counter()
    for model in server.app.repository.catalog.served:
        tally = server.app._metrics.tally(model)
        figures.update({f"{model.name} {code} {by}": count for (code, by), count in tally.codes.items()})
        figures[f"{model.name} images"] = tally.images
        figures[f"{model.name} not finite"] = tally.invalid_outputs
        figures[f"{model.name} times"] = sum(tally.request.counts)
    return figures


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bursts())
def test_both_ways_answer_the_same_bytes(server: Server, requests: list[bytes]) -> None:
    admission, before = server.app._admission, totals(server)
    with HandDriven(server) as driven:
        expected = [comparable(answer) for request in requests for answer in driven.ask([request])]
        counted = totals(server) - before
        for known in (False, True, True):
            assert [comparable(answer) for answer in driven.ask(requests, known=known)] == expected
            assert driven.counted == counted
        assert (admission.calls, admission.bytes, admission.unwritten()) == (0, 0, {})
        assert driven.front.unfinished_bytes == 0


def infer_request(mark: int, headers: str = "", query: str = "", more: str = "") -> bytes:
    text = '{"inputs":[{"name":"images","shape":[1,4,4,1],"datatype":"UINT8","parameters":{"binary_data_size":16}}],'
    text += '"parameters":{"binary_data_output":true}' + more + "}"
    headers += f"Inference-Header-Content-Length: {len(text)}\r\n"
    return http(f"/v2/models/echo/infer{query}", text.encode() + bytes([mark] * 16), headers)


def is_answer(answer: bytes, mark: int) -> bool:
    expected = np.full(10, mark, np.float32) * np.float32(1 / 255)
    return answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(expected.tobytes())


def test_requests_that_are_alike_are_answered_together(front: HandDriven) -> None:
    answers = front.ask([infer_request(mark) for mark in range(8)], known=True)
    assert all(is_answer(answer, mark) for mark, answer in enumerate(answers))
    assert front.together == [8]
    ids = [re.search(rb"X-Request-Id: (\S+)", answer)[1] for answer in answers]  # type: ignore[index]
    assert len(set(ids)) == 8


def test_what_differs_in_line_or_headers_is_not_alike(front: HandDriven) -> None:
    answers = front.ask([infer_request(mark, f"X-Request-Id: {mark // 4}\r\n") for mark in range(8)], known=True)
    assert all(b"X-Request-Id: %d\r\n" % (mark // 4) in answer for mark, answer in enumerate(answers))
    assert front.together == [4, 4]


def test_a_request_that_differs_in_its_json_is_answered_as_it_asks(front: HandDriven) -> None:
    requests = [infer_request(mark, more=f',"id":"{mark % 3}"') for mark in range(6)]
    answers = front.ask(requests, known=True)
    assert all(is_answer(answer, mark) and b'"id":"%d"' % (mark % 3) in answer for mark, answer in enumerate(answers))


def test_more_than_is_read_at_once_is_answered(front: HandDriven) -> None:
    answers = front.ask([infer_request(mark) for mark in range(70)], known=True)
    assert all(is_answer(answer, mark) for mark, answer in enumerate(answers))


def test_requests_sent_ahead_keep_their_order(front: HandDriven) -> None:
    connections = front.connect(2)
    for _ in range(2):
        connections[0].sendall(infer_request(1))
        front.take()
        connections[0].recv(1 << 20)
    front.together.clear()
    connections[1].sendall(infer_request(9))
    connections[0].sendall(infer_request(2))
    front.front._take()
    connections[0].sendall(infer_request(3) + infer_request(4))
    front.take(4 - sum(front.together))
    found = b""
    while found.count(b"HTTP/1.1 200 OK") < 3:
        found += connections[0].recv(1 << 20)
    places = [found.index((np.full(10, mark, np.float32) * np.float32(1 / 255)).tobytes()) for mark in (2, 3, 4)]
    assert places == sorted(places)
    assert is_answer(connections[1].recv(1 << 20), 9)
    front.close(connections)


class HeldBack:
    """The model's runs wait until they are let go; they run on a worker."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        (model,) = server.app.repository.catalog.served
        self.runs, self.gate, run = threading.Semaphore(0), threading.Event(), model.engine.run

        def held_back(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.runs.release()
            assert self.gate.wait(TIMEOUT_S)
            return run(images)

        monkeypatch.setattr(model.engine, "run", held_back)


@pytest.fixture
def slow(tmp_path: Path, write_echo_model: WriteModel) -> Iterator[Server]:
    """A server with one worker, which runs all batches."""
    write_echo_model(tmp_path)
    with running_servers("native") as start:
        yield start(tmp_path, inline_us=0, workers=1, max_batch_size=8)


@pytest.fixture
def driven(slow: Server) -> Iterator[HandDriven]:
    with HandDriven(slow) as driven:
        yield driven


def learned(driven: HandDriven, request: bytes, count: int) -> list[socket.socket]:
    connections = driven.connect(count)
    for _ in range(LEARNING):
        connections[0].sendall(request)
        driven.take()
        connections[0].recv(1 << 20)
    driven.together.clear()
    return connections


def test_a_worker_leaves_its_answers_to_the_thread_that_takes_requests(driven: HandDriven) -> None:
    answers = driven.ask([infer_request(mark) for mark in range(8)], known=True)
    assert all(is_answer(answer, mark) for mark, answer in enumerate(answers))
    assert driven.together == [8]


def test_a_caller_who_hangs_up_is_the_only_one_without_an_answer(
    slow: Server, driven: HandDriven, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = learned(driven, infer_request(0), 5)
    held = HeldBack(slow, monkeypatch)
    connections[0].sendall(infer_request(0))
    while not slow.app._admission.calls:
        driven.front._take()
    assert held.runs.acquire(timeout=TIMEOUT_S)  # the only worker is held up
    for mark in range(1, 5):
        connections[mark].sendall(infer_request(mark))
    while slow.app._admission.calls < 5:
        driven.front._take()
    connections[2].close()
    while driven.front.open == 5:
        driven.front._take()
    held.gate.set()
    driven.take(5)
    for mark in (0, 1, 3, 4):
        assert is_answer(connections[mark].recv(1 << 20), mark)
    (model,) = slow.app.repository.catalog.served
    codes = slow.app._metrics.tally(model).codes
    wait_until(lambda: codes.get(("CANCELLED", "http")) == 1 and codes["OK", "http"] == LEARNING + 4)
    assert slow.app._admission.calls == 0
    driven.close([connections[mark] for mark in (0, 1, 3, 4)])


def test_a_deadline_that_passes_is_told_to_each(
    slow: Server, driven: HandDriven, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = infer_request(1, query="?timeout_ms=40")
    connections = learned(driven, request, 4)
    held = HeldBack(slow, monkeypatch)
    connections[0].sendall(infer_request(0))
    while not slow.app._admission.calls:
        driven.front._take()
    assert held.runs.acquire(timeout=TIMEOUT_S)
    for connection in connections[1:]:
        connection.sendall(request)
    while slow.app._admission.calls < 4 and not driven.together:
        driven.front._take()
    late = time.monotonic() + 0.05
    wait_until(lambda: time.monotonic() > late)
    held.gate.set()
    driven.take(4)
    assert is_answer(connections[0].recv(1 << 20), 0)
    for connection in connections[1:]:
        answer = connection.recv(1 << 20)
        assert answer.startswith(b"HTTP/1.1 504 ") or answer.startswith(b"HTTP/1.1 429 ")
    driven.close(connections)


def test_answers_tell_that_the_server_stops(slow: Server, driven: HandDriven, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = learned(driven, infer_request(0), 3)
    held = HeldBack(slow, monkeypatch)
    for mark, connection in enumerate(connections):
        connection.sendall(infer_request(mark))
    while slow.app._admission.calls < 3:
        driven.front._take()
    assert held.runs.acquire(timeout=TIMEOUT_S)
    driven.front.drain()
    held.gate.set()
    driven.take(3)
    for mark, connection in enumerate(connections):
        answer = connection.recv(1 << 20)
        assert is_answer(answer, mark)
        assert b"\r\nConnection: close\r\n" in answer


def test_a_request_waits_for_the_one_before_it_on_its_connection(
    slow: Server, driven: HandDriven, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = learned(driven, infer_request(0), 2)
    held = HeldBack(slow, monkeypatch)
    connections[0].sendall(infer_request(1))
    while not slow.app._admission.calls:
        driven.front._take()
    assert held.runs.acquire(timeout=TIMEOUT_S)
    connections[0].sendall(infer_request(2))
    while not driven.front.unfinished_bytes:
        driven.front._take()
    assert slow.app._admission.calls == 1
    held.gate.set()
    driven.take(2)
    found = b""
    while found.count(b"HTTP/1.1 200 OK") < 2:
        found += connections[0].recv(1 << 20)
    assert is_answer(found, 2)


def test_answers_of_one_length_are_told_apart() -> None:
    answers = BinaryAnswers()
    for name in ("one", "two", "one"):
        tensor = oip.ModelInferResponse.InferOutputTensor(name="p", datatype="UINT8", shape=(1, 4))
        message = oip.ModelInferResponse(model_name=name, outputs=[tensor], raw_output_contents=[b"1234"])
        payload = message.SerializeToString()
        written = answers.write([payload] * 2)
        assert written is not None
        assert all(name.encode() in body and body.endswith(b"}1234") for body in written.bodies)
        assert answers.write([payload, payload.replace(name.encode(), b"six")]) is None
        assert answers.write([payload, payload + b"\x1a\x01i"]) is None
    assert answers.write([oip.ModelInferResponse(model_name="one").SerializeToString()]) is None


def test_known_requests_are_limited_in_number(front: HandDriven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_request, "MAX_KNOWN", 3)
    for name in range(9):
        request = infer_request(name, f"User-Agent: {name}\r\n")
        assert all(is_answer(answer, name) for answer in front.ask([request] * 2, known=True))
        assert len(front.front.known._by_head) <= 3
        assert front.front.known.find(request) is not None


def test_only_whole_requests_of_a_known_beginning_are_known() -> None:
    known = KnownRequests()
    assert known.find(b"") is None
    assert known.find(b"\r\n\r\n") is None
    assert known.find(b"GET / HTTP/1.1\r\n") is None
