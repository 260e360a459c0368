"""What callers can do to a front by HTTP/2 alone: compressed messages, resets, pings, large metadata."""

from __future__ import annotations

import asyncio
import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from bench.processes import Server as Process
from bench.processes import covey_server
from bench.raw_http2 import Place, RawConnection, call_headers
from tests.conftest import WriteModel
from tests.server.conftest import Server

import covey
from covey_load.wire.frames import (
    ACK,
    CANCEL,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    frame,
    length_prefixed,
    word,
)
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.fronts import MAX_METADATA_BYTES

CLASSIFY, HEALTH = "/covey.v1.Classifier/Classify", "/grpc.health.v1.Health/Check"
STREAM = "/covey.v1.Classifier/ClassifyStream"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
TOKEN = "a-token.0123456789abcdef"
REQUEST = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()
UNFOLDED_BYTES = 60 << 20  # packed it fits into the first window of a connection
PACKED = {"gzip": gzip.compress(bytes(UNFOLDED_BYTES)), "deflate": zlib.compress(bytes(UNFOLDED_BYTES))}


@pytest.fixture(scope="module")
def process(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Process]:
    """A server that wants a token, in a process whose memory can be looked at."""
    folder = tmp_path_factory.mktemp("process")
    write_echo_model(folder / "models")
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(TOKEN)
    with covey_server(folder / "models", front, folder / "log", ("--auth-token-file", str(tokens))) as server:
        yield server


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at memory as Linux shows it")
@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("path", [CLASSIFY, HEALTH, STREAM, REFLECTION, "/no.such.Service/Method"])
def test_what_comes_without_a_token_is_not_unfolded(process: Process, path: str, encoding: str) -> None:
    before = peak_bytes(process._process.pid)
    body = struct.pack(">BI", 1, len(PACKED[encoding])) + PACKED[encoding]  # a message that says it is compressed
    with RawConnection(Place.of(process.target)) as connection:
        connection.write(call_headers(path, 1, [("grpc-encoding", encoding)]))
        assert len(body) < 65_535
        pieces = [body[start : start + 16_384] for start in range(0, len(body), 16_384)]
        connection.write(*(frame(DATA, 0, 1, piece) for piece in pieces), frame(DATA, END_STREAM, 1))
        kind = next(each[0] for each in connection.frames() if each[0] in (HEADERS, DATA, RST_STREAM, GOAWAY))
    assert kind == HEADERS  # a status, and no message
    with grpc.insecure_channel(process.target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        assert call(REQUEST, metadata=(("authorization", f"Bearer {TOKEN}"),), timeout=20)
    assert peak_bytes(process._process.pid) - before < UNFOLDED_BYTES // 3


@pytest.mark.parametrize("path", [CLASSIFY, HEALTH, REFLECTION])
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_honest_compression_is_answered_or_refused_in_words(
    server: Server, path: str, compression: grpc.Compression
) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(path)
    if (server.app.front.name, path, compression) == ("native", CLASSIFY, grpc.Compression.Gzip):
        message = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 100))).SerializeToString()
        assert len(pb.ClassifyResponse.FromString(call(message, compression=compression, timeout=20)).results) == 100
        return
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(1000), compression=compression, timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    name = "gzip" if compression is grpc.Compression.Gzip else "deflate"
    assert name in (caught.value.details() or "")


@pytest.mark.parametrize("with_message", [True, False])
def test_calls_that_are_reset_at_once_leave_nothing(process: Process, with_message: bool) -> None:
    metadata = [("authorization", f"Bearer {TOKEN}")]
    before = peak_bytes(process._process.pid)
    data = [length_prefixed(REQUEST)] if with_message else []
    with RawConnection(Place.of(process.target)) as connection:
        for first in range(1, 40_000, 200):
            for stream in range(first, first + 200, 2):
                sent = [frame(DATA, END_STREAM, stream, each) for each in data]
                connection.write(
                    call_headers(CLASSIFY, stream, metadata), *sent, frame(RST_STREAM, 0, stream, word.pack(CANCEL))
                )
        connection.write(frame(PING, 0, 0, b"the last"))
        list(until_pong(connection, 1))
    with grpc.insecure_channel(process.target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        assert call(REQUEST, metadata=tuple(metadata), timeout=20)
    assert peak_bytes(process._process.pid) - before < 50 << 20  # without a bound on calls at once: 200 MB


def test_all_of_many_calls_at_once_are_answered(server: Server) -> None:
    """gRPC's own server resets some where a connection has as many open as it may have."""
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)

    async def ask() -> set[str]:
        async with covey.AsyncClient(server.target, retries=0) as client:
            answers = await asyncio.gather(*(client.classify(pixels, deadline_ms=100_000) for _ in range(2_000)))
        return {answer.label for answer in answers}

    assert asyncio.run(ask()) == {"class 9"}

    async def ask_by_grpc() -> int:
        async with grpc.aio.insecure_channel(server.target) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
            answers = await asyncio.gather(*(call(REQUEST, timeout=100) for _ in range(600)))
        return len(answers)

    assert asyncio.run(ask_by_grpc()) == 600


def until_pong(connection: RawConnection, count: int) -> Iterator[int]:
    """The kinds of frames until so many pings are answered, or the server closes the connection."""
    for kind, flags, _, _ in connection.frames():
        yield kind
        count -= kind == PING and bool(flags & ACK)
        if not count:
            return


@pytest.mark.parametrize("call_is_open", [False, True])
def test_a_client_may_ping_while_nothing_is_sent(server: Server, call_is_open: bool) -> None:
    """The SDK pings a silent stream every minute, tritonclient at 10 s: to gRPC's own server the third is too many."""
    with RawConnection(Place.of(server.target)) as connection:
        if call_is_open:
            connection.write(call_headers(STREAM, 1))
        for number in range(20):
            connection.write(frame(PING, 0, 0, number.to_bytes(8, "big")))
            assert GOAWAY not in list(until_pong(connection, 1))
        connection.write(call_headers(HEALTH, 3), frame(DATA, END_STREAM, 3, length_prefixed(b"")))
        assert any(kind == DATA and stream == 3 for kind, _, stream, _ in connection.frames())


def test_metadata_may_hold_a_large_token(server: Server) -> None:
    for path in (CLASSIFY, HEALTH):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(path)
        message = REQUEST if path == CLASSIFY else b""
        for size in (9_000, 17_000, MAX_METADATA_BYTES - 4_096):
            assert call(message, metadata=(("authorization", "x" * size),), timeout=20)
        with pytest.raises(grpc.RpcError) as caught:
            call(message, metadata=(("authorization", "x" * (MAX_METADATA_BYTES + 1)),), timeout=20)
        if server.app.front.name == "grpcio":
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert f"(value length {MAX_METADATA_BYTES + 1} vs. {MAX_METADATA_BYTES})" in (caught.value.details() or "")
