"""Through a real server, on both fronts and over HTTP: each limit of a principal, and its priority."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.server.batching.test_limits import Clock
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import element, metric, responses
from tests.server.http.asking import PIXELS, Answer, ask, ask_by, png

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.late_refusals import HOLD_S

TOKENS = ("camera-token", "second-token", "bulk-token", "unnamed-token")
CAMERA, SECOND, BULK, UNNAMED = TOKENS
Metadata = tuple[tuple[str, str], ...]


def name(token: str) -> str:
    return f"token:{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def pixels(count: int = 1) -> bytes:
    return pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * count))).SerializeToString()


def call_grpc(server: Server, token: str, payload: bytes | None = None) -> str:
    """The name of the status."""
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    return str(
        classify.future(pixels() if payload is None else payload, metadata=bearer(token), timeout=60).code().name
    )


def call_http(server: Server, token: str, file: bytes = b"") -> Answer:
    """Sends an image file or, without one, pixels."""
    headers = {"Authorization": f"Bearer {token}"}
    if file:
        return ask(server.http_port, "POST", "/v1/models/echo/classify", file, headers)
    images = {"name": "images", "shape": [1, 4, 4, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 16}}
    text = json.dumps({"inputs": [images], "parameters": {"binary_data_output": True}}).encode()
    headers["Inference-Header-Content-Length"] = str(len(text))
    return ask(server.http_port, "POST", "/v2/models/echo/infer", text + bytes(16), headers)


def count(call: Callable[[], str], tries: int) -> int:
    """How many of so many calls are answered; all others are refused for a limit."""
    codes = [call() for _ in range(tries)]
    assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}
    return codes.count("OK")


def refused(server: Server, principal: str, reason: str) -> float:
    return metric(server, f'covey_principal_refused_total{{principal="{principal}",reason="{reason}"}}')


def until_idle(server: Server) -> None:
    """Until no call is inside: answers leave a little before."""
    give_up_s = time.monotonic() + 60
    while metric(server, "covey_calls_in_flight"):
        assert time.monotonic() < give_up_s


class Limited:
    """Starts servers whose tokens have limits; `clock` is theirs."""

    def __init__(self, folder: Path, start: StartServer) -> None:
        self.file = folder / "limits.toml"
        self.clock = Clock()
        self._folder = folder
        self._start = start

    def start(self, limits: str, **settings: object) -> Server:
        self.write(limits)
        tokens = self._folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text("\n".join(TOKENS))
        settings = {"auth_token_file": str(tokens), "limits_file": str(self.file), "max_batch_size": 8} | settings
        server = self._start(self._folder / "models", **settings)
        assert server.app._security.limits is not None
        server.app._security.limits.limits._clock_ns = self.clock
        return server

    def write(self, limits: str) -> None:
        self.file.write_text(limits)


@pytest.fixture
def limited(tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel) -> Limited:
    write_echo_model(tmp_path / "models")
    return Limited(tmp_path, start_server)


def table(token: str, label: str, limits: str) -> str:
    return f'[{label}]\nprincipals = ["{name(token)}"]\n{limits}\n'


def test_each_rate_refuses_exactly_what_is_beyond_it(limited: Limited) -> None:
    """By gRPC and HTTP together: it is one principal. Most of these calls go the fast way, the first ones do not."""
    server = limited.start(
        table(CAMERA, "camera", "requests_per_s = 8") + table(SECOND, "second", "images_per_s = 20")
        + "[default]\nrequests_per_s = 3"
    )  # fmt: skip
    assert count(lambda: call_grpc(server, CAMERA), 5) == 5
    answers = [call_http(server, CAMERA) for _ in range(6)]
    assert [each.status for each in answers] == [200] * 3 + [429] * 3
    assert answers[-1].error == "'camera' may send 8 requests per second and has sent them; try again in 125 ms"
    assert answers[-1].headers["retry-after"] == "1"
    assert count(lambda: call_grpc(server, CAMERA), 3) == 0
    limited.clock.go_on(0.25)
    assert count(lambda: call_grpc(server, CAMERA), 4) == 2
    assert refused(server, "camera", "requests_per_s") == 8
    assert metric(server, 'covey_refused_total{reason="requests_per_s"}') == 8

    encoded = pb.ClassifyRequest(encoded=pb.EncodedImages(images=[png(PIXELS[0])] * 3)).SerializeToString()
    assert count(lambda: call_grpc(server, SECOND, pixels(4)), 2) == 2  # 8 images
    assert count(lambda: call_grpc(server, SECOND, encoded), 2) == 2  # 14
    assert [call_http(server, SECOND, png(PIXELS[0])).status for _ in range(2)] == [200, 200]  # 16
    assert count(lambda: call_grpc(server, SECOND, pixels(4)), 2) == 1  # 20
    assert count(lambda: call_grpc(server, SECOND, encoded), 1) == 0
    assert "may send 20 images per second, and 1 more would pass that" in call_http(server, SECOND).error
    limited.clock.go_on(0.1)
    assert count(lambda: call_grpc(server, SECOND), 4) == 2
    assert refused(server, "second", "images_per_s") == 5

    assert count(lambda: call_grpc(server, UNNAMED), 5) == count(lambda: call_grpc(server, BULK), 5) == 3
    assert refused(server, "other", "requests_per_s") == 4


def test_a_refusal_over_grpc_says_when_to_come_back(limited: Limited) -> None:
    server = limited.start(table(CAMERA, "camera", "requests_per_s = 0.1"))
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    classify(pixels(), metadata=bearer(CAMERA), timeout=20)
    with pytest.raises(grpc.RpcError, match=r"'camera' may send 0\.1 requests per second") as caught:
        classify(pixels(), metadata=bearer(CAMERA), timeout=20)
    metadata = {each.key: str(each.value) for each in caught.value.trailing_metadata() or ()}
    assert metadata["retry-after-ms"] == "10000"


@pytest.mark.parametrize("call", [call_grpc, lambda server, token: str(call_http(server, token).status)])
def test_who_sends_again_at_once_is_slowed_down(limited: Limited, call: Callable[[Server, str], str]) -> None:
    server = limited.start(table(CAMERA, "camera", "requests_per_s = 1"))
    assert call(server, CAMERA) in ("OK", "200")
    began_s = time.monotonic()
    assert {call(server, CAMERA) for _ in range(4)} <= {"RESOURCE_EXHAUSTED", "429"}
    assert time.monotonic() - began_s > 4 * HOLD_S / 3
    assert call(server, SECOND) in ("OK", "200")
    limited.clock.go_on(1)
    assert call(server, CAMERA) in ("OK", "200")


def hold(server: Server, token: str, calls: int) -> list[Any]:  # the stubs do not name them
    """Calls that wait, with --max-delay-us, until a batch is full."""
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    return [classify.future(pixels(), metadata=bearer(token), timeout=100) for _ in range(calls)]


def wait_for(server: Server, images: int) -> None:
    """Until so many images wait."""
    give_up_s = time.monotonic() + 60
    while sum(server.app._batcher.waiting_images().values()) != images:
        assert time.monotonic() < give_up_s, server.app._batcher.waiting_images()


@pytest.fixture
def holding(limited: Limited) -> tuple[Server, int]:
    """A server that runs full batches only, and how many images those have."""
    server = limited.start(
        table(CAMERA, "camera", "in_flight = 2") + table(BULK, "bulk", 'priority = "batch"'),
        max_delay_us=10_000_000,
        inline_us=0,
    )
    best = server.app.repository.catalog.find("echo", 0).cost.best_batch_size
    assert best >= 4
    return server, best


def finish(server: Server, held: Sequence[Any], best: int) -> None:
    """Fills the batch, so that all held calls are answered."""
    rest = hold(server, UNNAMED, best - len(held))
    assert [each.code() for each in (*held, *rest)] == [grpc.StatusCode.OK] * best
    until_idle(server)


def test_calls_in_flight_are_limited_until_they_are_answered(holding: tuple[Server, int]) -> None:
    server, best = holding
    for _ in range(2):  # the second time they go the fast way
        held = hold(server, CAMERA, 2)
        wait_for(server, 2)
        assert call_grpc(server, CAMERA) == "RESOURCE_EXHAUSTED"
        assert "2 calls of 'camera' are unanswered, as many as it may have" in call_http(server, CAMERA).error
        finish(server, held, best)
    assert refused(server, "camera", "in_flight") == 4


def test_priority_batch_stands_behind_others(holding: tuple[Server, int]) -> None:
    server, best = holding
    held_bulk = hold(server, BULK, 2)
    wait_for(server, 2)
    held = hold(server, UNNAMED, 1)
    wait_for(server, 3)
    (queue,) = server.app._batcher._queues.values()
    queue.expand()
    assert [request.gives_way for request in queue.requests] == [False, True, True]
    rest = hold(server, BULK, best - 2)  # so that there is a full batch of it, too
    assert {each.code() for each in (*held_bulk, *held, *rest)} == {grpc.StatusCode.OK}


def test_a_stream_is_slowed_down_instead_of_refused(limited: Limited) -> None:
    server = limited.start(table(CAMERA, "camera", "requests_per_s = 3\nimages_per_s = 4"))
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = server.channel.stream_stream(
        "/covey.v1.Classifier/ClassifyStream"
    )
    answers = responses(method(iter([element(number) for number in range(7)]), metadata=bearer(CAMERA), timeout=100))
    found = [next(answers).id for _ in range(3)]
    assert call_grpc(server, CAMERA) == "RESOURCE_EXHAUSTED"
    for _ in range(4):
        limited.clock.go_on(1 / 3)
        found.append(next(answers).id)
    assert found == [str(number) for number in range(7)]
    assert list(answers) == []
    assert refused(server, "camera", "requests_per_s") == 1


def test_a_file_that_changes_is_followed(limited: Limited) -> None:
    server = limited.start(table(CAMERA, "camera", "requests_per_s = 2"))
    assert count(lambda: call_grpc(server, CAMERA), 4) == 2
    assert refused(server, "camera", "requests_per_s") == 2
    limited.write(table(CAMERA, "front-door", "requests_per_s = 5"))
    assert server.app._security.limits is not None
    while "front-door" not in server.app._security.limits.limits.names:  # a look a second; the test has a time limit
        time.sleep(0.001)
    assert count(lambda: call_grpc(server, CAMERA), 8) == 5
    assert refused(server, "front-door", "requests_per_s") == 3
    assert refused(server, "camera", "requests_per_s") == 0, "labels are those of the file"


def test_a_certificate_is_one_principal_by_grpc_and_http(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer
) -> None:
    write_echo_model(tmp_path / "models")
    authority = Authority(tmp_path / "ca")
    pair, own = authority.sign("localhost"), authority.sign("caller-7", file="caller")
    subject = x509.load_pem_x509_certificate(own.certificate.read_bytes()).subject.rfc4514_string()
    assert "," in subject, "of several parts, whose order matters"
    limits = tmp_path / "limits.toml"
    limits.write_text(f'["certificate:{subject}"]\nrequests_per_s = 2\n')
    server = start_server(
        tmp_path / "models",
        front="grpcio",
        tls_certificate=str(pair.certificate),
        tls_key=str(pair.key),
        tls_client_ca=str(authority.certificate),
        limits_file=str(limits),
    )
    assert server.app._security.limits is not None
    server.app._security.limits.limits._clock_ns = Clock()
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    trusting.load_cert_chain(own.certificate, own.key)
    connection = http.client.HTTPSConnection("localhost", server.http_port, context=trusting, timeout=60)
    credentials = grpc.ssl_channel_credentials(
        authority.certificate.read_bytes(), own.key.read_bytes(), own.certificate.read_bytes()
    )
    with grpc.secure_channel(f"localhost:{server.app.front.port}", credentials) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        codes: list[str | int] = []
        for _ in range(2):
            codes.append(classify.future(pixels(), timeout=60).code().name)
            codes.append(ask_by(connection, "POST", "/v1/models/echo/classify", png(PIXELS[0])).status)
    connection.close()
    assert codes == ["OK", 200, "RESOURCE_EXHAUSTED", 429]
