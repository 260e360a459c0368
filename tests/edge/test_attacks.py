"""What callers get who mean harm, or ask for too much: it does not reach the server, and the others are answered."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from bench.processes import Server, covey_server, fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import WriteModel
from tests.edge.conftest import Guarded, StartEdge, figure
from tests.edge.raw import raw_connection
from tests.edge.test_callers import CLASSIFY, ONE, PIXELS, TOKEN
from tests.waiting import wait_until

import covey
from covey_proto.v1 import classifier_pb2 as pb

MEGABYTE = 10**6
FOUR_GIGABYTES = b"\0" + struct.pack(">I", 2**32 - 1)


def error(guarded: Guarded, message: bytes, **call: object) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """The status, words and trailing metadata that a call through the edge fails with."""
    with guarded.channel() as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        with pytest.raises(grpc.RpcError) as caught:
            ask(message, timeout=20, **call)  # type: ignore[arg-type]
    trailers: dict[str, str] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type]
    return caught.value.code(), caught.value.details() or "", trailers


def rubbish(size_bytes: int) -> bytes:
    """A request of exactly so many bytes, with one image that is none."""
    encoded = pb.EncodedImages(images=[bytes(size_bytes - 16)])
    for pad in range(17):
        encoded.images[0] = bytes(size_bytes - 16 + pad)
        request = pb.ClassifyRequest(encoded=encoded).SerializeToString()
        if len(request) == size_bytes:
            return request
    raise AssertionError(size_bytes)


def answered(guarded: Guarded) -> None:
    """Another caller is served."""
    with guarded.client() as client:
        assert client.classify(PIXELS).label == "class 9"


def test_a_message_may_be_as_large_as_the_server_takes_and_not_a_byte_more(start_edge: StartEdge) -> None:
    guarded = start_edge({"COVEY_MAX_MESSAGE_BYTES": str(MEGABYTE)})
    with guarded.channel() as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        answer = ask(rubbish(MEGABYTE), timeout=20)
    assert pb.ClassifyResponse.FromString(answer).results[0].error.reason == pb.ImageError.REASON_INVALID
    code, words, trailers = error(guarded, rubbish(MEGABYTE + 1))
    assert (code, words) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "a request has at most 1,000,000 bytes; send fewer images per call",
    )
    assert "retry-after-ms" not in trailers
    wait_until(lambda: guarded.refused("message_size") == 1)


def test_compressed_messages_are_refused_unread(guarded: Guarded) -> None:
    code, words, _ = error(guarded, ONE, compression=grpc.Compression.Gzip)
    assert (code, words) == (grpc.StatusCode.UNIMPLEMENTED, "compressed messages are not taken; send them uncompressed")


def test_metadata_beyond_what_the_server_takes_is_named(guarded: Guarded) -> None:
    for size in (70_000, 100_000):
        code, words, _ = error(guarded, ONE, metadata=[("large", "x" * size)])
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than the 64 KB that the server takes" in words


def test_half_sent_messages_stay_at_the_edge(guarded: Guarded) -> None:
    """64 of 2 MB, each with a prefix that promises 4 GB."""
    before, had = guarded.server.resident_bytes(), calls_of(guarded)
    with raw_connection(guarded.edge.target) as attacker:
        for _ in range(64):
            stream = attacker.call(CLASSIFY)
            assert attacker.body(stream, FOUR_GIGABYTES + bytes(2 * MEGABYTE), end=False) == 2 * MEGABYTE + 5
        attacker.settle()
        answered(guarded)
        assert guarded.server.resident_bytes() - before < 32 * MEGABYTE
        assert guarded.edge.resident_bytes() < 128 * MEGABYTE
    assert calls_of(guarded) == had + 1


def calls_of(guarded: Guarded) -> float:
    """Calls that the server has answered OK."""
    assert guarded.server.metrics_url is not None
    page = fetch(guarded.server.metrics_url)
    sample = 'covey_requests_total{code="OK",model="echo",protocol="grpc",version="1"}'
    return figure(page, sample) if "echo" in page else 0.0


def test_without_a_token_no_message_is_taken(start_edge: StartEdge, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    guarded = start_edge({"COVEY_EDGE_TOKEN_FILE": str(tmp_path / "tokens")})
    with raw_connection(guarded.edge.target) as attacker:
        stream = attacker.call(CLASSIFY)
        taken = attacker.body(stream, FOUR_GIGABYTES + bytes(100 * MEGABYTE), end=False)
    assert taken <= 128 * 1024  # the windows of HTTP/2
    with guarded.client(token=TOKEN) as client:
        assert client.classify(PIXELS).label == "class 9"


def test_a_promise_of_four_gigabytes_that_ends_early_is_an_error_of_that_call(guarded: Guarded) -> None:
    with raw_connection(guarded.edge.target) as attacker:
        stream = attacker.call(CLASSIFY)
        attacker.body(stream, FOUR_GIGABYTES + bytes(1000))
        assert attacker.answer(stream)
        answered(guarded)


def test_silent_connections_give_way_to_callers(start_edge: StartEdge) -> None:
    """Three times as many as the edge can hold."""
    guarded = start_edge({"COVEY_EDGE_CONNECTIONS": "128"})
    host, _, port = guarded.edge.target.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(384):
            stack.enter_context(socket.create_connection((host, int(port)), 10))
        answered(guarded)


@pytest.mark.slow
def test_who_says_nothing_is_hung_up_on(guarded: Guarded) -> None:
    """After 10 s: without a handshake, without a call, and within a message."""
    host, _, port = guarded.edge.target.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 30) as silent,
        raw_connection(guarded.edge.target) as half,
    ):
        stream = half.call(CLASSIFY)
        half.body(stream, FOUR_GIGABYTES + bytes(1000), end=False)
        assert silent.recv(1) == b""
        assert half.answer(stream) == b""


def test_an_address_has_so_many_calls_at_once(start_edge: StartEdge) -> None:
    guarded = start_edge({"COVEY_EDGE_CALLS": "4"})
    with raw_connection(guarded.edge.target) as greedy:
        for _ in range(4):
            greedy.body(greedy.call(CLASSIFY), FOUR_GIGABYTES, end=False)
        greedy.settle()
        code, words, trailers = error(guarded, ONE)
        assert (code, words) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "this address has too many calls; try again",
        )
        assert trailers["retry-after-ms"] == "100"
    wait_until(lambda: guarded.refused("address") == 1)
    answered(guarded)


def test_an_address_has_so_many_streams_at_once(start_edge: StartEdge) -> None:
    guarded = start_edge({"COVEY_EDGE_STREAMS": "2"})
    with guarded.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        held = [watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for each in held:
            assert next(each).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="this address has too many calls"):
            next(watch(health_pb2.HealthCheckRequest()))
    answered(guarded)


def test_an_address_has_so_many_calls_a_second(start_edge: StartEdge) -> None:
    guarded = start_edge({"COVEY_EDGE_CALLS_PER_S": "5"})
    with guarded.client() as client, pytest.raises(covey.Overloaded, match="too many calls"):
        list(map(client.classify, [PIXELS] * 100))


def test_large_messages_take_turns_on_their_way_to_the_server(start_edge: StartEdge) -> None:
    """Room for one of 20 MB and more, whose answer nobody waits for."""
    guarded = start_edge({"COVEY_EDGE_ROOM_BYTES": str(80 * MEGABYTE)})
    message = rubbish(20 * MEGABYTE)

    def outcome(_: int) -> str:
        with guarded.channel() as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
            try:
                ask(message, timeout=60)
            except grpc.RpcError as failure:
                return f"{failure.code().name}: {failure.details()}"
            return "OK"

    with ThreadPoolExecutor(8) as callers:
        outcomes = set(callers.map(outcome, range(32)))
    assert outcomes == {
        "OK",
        "RESOURCE_EXHAUSTED: as many messages of this size as may be are on their way to the server; try again",
    }
    answered(guarded)


def test_who_speaks_no_grpc_is_told(guarded: Guarded) -> None:
    """A browser's HTTP/1.1, to any path."""
    context = ssl.create_default_context(cafile=str(guarded.authority.certificate))
    browser = http.client.HTTPSConnection(guarded.edge.target, timeout=20, context=context)
    with contextlib.closing(browser):
        browser.request("GET", "/covey.v1.Classifier/Classify")
        answer = browser.getresponse()
        assert answer.headers["grpc-message"] == "the edge takes gRPC over HTTP/2 alone"


@pytest.fixture
def short_lived(tmp_path: Path, write_echo_model: WriteModel) -> Iterator[Server]:
    write_echo_model(tmp_path / "models")
    with covey_server(tmp_path / "models", "native", tmp_path / "log") as server:
        yield server


def test_a_server_that_is_gone_is_unavailable_and_comes_back(start_edge: StartEdge, short_lived: Server) -> None:
    guarded = start_edge(before=short_lived)
    answered(guarded)
    short_lived._process.terminate()
    short_lived._process.wait(30)
    code, words, _ = error(guarded, ONE)
    assert (code, words) == (grpc.StatusCode.UNAVAILABLE, "the edge reaches no server; try again")
    with pytest.raises(OSError, match="HTTP Error 502"):
        fetch(guarded.edge.readiness_url)


def test_the_edge_waits_for_open_calls_when_it_stops(start_edge: StartEdge) -> None:
    guarded = start_edge()
    with guarded.client() as client:
        stream = client.classify_stream((place, PIXELS) for place in range(3))
        assert next(stream)
        os.kill(guarded.edge._process.pid, 15)
        assert len(list(stream)) == 2
