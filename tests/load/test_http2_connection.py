"""What real servers rarely do, from a peer that speaks frames by hand on a real socket."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from covey_load.channel import Order
from covey_load.pool import LoadError
from covey_load.processes import Generators
from covey_load.recording import Recording, record
from covey_load.wire.connection import ProtocolError
from covey_load.wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Request,
    frame,
    length_prefixed,
)
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.sockets import Endpoint

REQUEST = Request("test", "/bench.Echo/Echo", b"message")
CONTINUATION = 0x9


class Peer:
    """The server's end of one connection. Reads frames, skipping settings and their acknowledgements."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")

    def read_preface(self) -> None:
        assert self._stream.read(len(PREFACE)) == PREFACE

    def read(self) -> tuple[int, int, int, bytes]:
        """Kind, flags, stream id and payload of the next frame that matters."""
        while True:
            length_and_kind, flags, stream_id = struct.unpack(">IBI", self._stream.read(9))
            payload = self._stream.read(length_and_kind >> 8)
            kind = length_and_kind & 0xFF
            if kind != SETTINGS and not (kind == WINDOW_UPDATE and stream_id == 0):
                return kind, flags, stream_id, payload

    def send(self, *frames: bytes, chunk_bytes: int = 1 << 20) -> None:
        data = b"".join(frames)
        for start in range(0, len(data), chunk_bytes):
            self._stream.write(data[start : start + chunk_bytes])
            self._stream.flush()

    def take_call(self) -> int:
        """Reads a whole request; returns its stream id."""
        kind, _, stream_id, _ = self.read()
        assert kind == HEADERS
        assert self.read() == (DATA, END_STREAM, stream_id, length_prefixed(b"message"))
        return stream_id

    def wait_for_end(self) -> None:
        self._stream.read()


def answer(stream_id: int) -> bytes:
    """A good answer; the header blocks are not decoded, so any bytes will do."""
    return (
        frame(HEADERS, END_HEADERS, stream_id, b"\x88")
        + frame(DATA, 0, stream_id, length_prefixed(b"answer"))
        + frame(HEADERS, END_HEADERS | END_STREAM, stream_id, b"\x88")
    )


def window(stream_id: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", size))


def initial_window(size: int) -> bytes:
    """Settings with just this one."""
    return struct.pack(">HI", INITIAL_WINDOW_SIZE, size)


@contextmanager
def scripted(*scripts: Callable[[Peer], None], settings: bytes = b"") -> Iterator[int]:
    """Listens, and plays one script per connection after the handshake; what goes wrong in one is raised here."""
    errors: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def play() -> None:
        try:
            for script in scripts:
                connection, _ = listener.accept()
                connection.settimeout(30)
                with connection:
                    peer = Peer(connection)
                    peer.send(frame(SETTINGS, 0, 0, settings))
                    peer.read_preface()
                    script(peer)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            errors.append(error)
        finally:
            listener.close()

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
    for error in errors:
        raise error


def run(port: int, calls: int, request: Request = REQUEST, in_flight: int = 1) -> Recording:
    with Generators(1) as generators:
        return record(
            generators, [Order(Endpoint("127.0.0.1", port), [request], calls=calls, in_flight=in_flight, timeout_s=30)]
        )


def test_answers_in_pieces_are_put_together() -> None:
    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.send(answer(peer.take_call()), chunk_bytes=1)
        peer.wait_for_end()

    with scripted(script) as port:
        result = run(port, calls=2)
    assert (result.calls, result.failures) == (2, 0)


def test_continued_trailers_and_unknown_frames_are_passed_over() -> None:
    def script(peer: Peer) -> None:
        stream_id = peer.take_call()
        peer.send(
            frame(0xEE, 0, stream_id, b"unknown"),
            frame(HEADERS, END_HEADERS, stream_id, b"\x88"),
            frame(DATA, 0, stream_id, length_prefixed(b"answer")),
            frame(HEADERS, END_STREAM, stream_id, b"\x88"),
            frame(CONTINUATION, END_HEADERS, stream_id, b"\x88"),
        )
        peer.wait_for_end()

    with scripted(script) as port:
        assert run(port, calls=1).failures == 0


def test_a_ping_is_answered() -> None:
    def script(peer: Peer) -> None:
        stream_id = peer.take_call()
        peer.send(frame(PING, 0, 0, b"12345678"))
        assert peer.read() == (PING, ACK, 0, b"12345678")
        peer.send(answer(stream_id))
        peer.wait_for_end()

    with scripted(script) as port:
        assert run(port, calls=1).failures == 0


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(lambda id: frame(RST_STREAM, 0, id, struct.pack(">I", 7)), id="reset"),
        pytest.param(lambda id: frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x88"), id="trailers only"),
        pytest.param(lambda id: frame(DATA, END_STREAM, id, length_prefixed(b"answer")), id="no trailers"),
    ],
)
def test_a_call_that_ends_otherwise_is_a_failure_and_the_next_one_is_not(ending: Callable[[int], bytes]) -> None:
    def script(peer: Peer) -> None:
        peer.send(ending(peer.take_call()))
        peer.send(answer(peer.take_call()))
        peer.wait_for_end()

    with scripted(script) as port:
        result = run(port, calls=2)
    assert (result.calls, result.failures) == (2, 1)


def test_a_reset_after_the_answer_changes_nothing() -> None:
    def script(peer: Peer) -> None:
        stream_id = peer.take_call()
        peer.send(answer(stream_id), frame(RST_STREAM, 0, stream_id, struct.pack(">I", 0)))
        peer.send(answer(peer.take_call()))
        peer.wait_for_end()

    with scripted(script) as port:
        result = run(port, calls=2)
    assert (result.calls, result.failures) == (2, 0)


def test_goaway_fails_what_the_server_did_not_take_and_opens_a_new_connection() -> None:
    def leave(peer: Peer) -> None:
        first, _ = peer.take_call(), peer.take_call()
        peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", first, 0)), answer(first))
        peer.wait_for_end()

    def stay(peer: Peer) -> None:
        for _ in range(2):
            peer.send(answer(peer.take_call()))
        peer.wait_for_end()

    with scripted(leave, stay) as port:
        result = run(port, calls=4, in_flight=2)
    assert (result.calls, result.failures) == (4, 1)


def test_calls_on_a_lost_connection_fail_and_a_server_that_is_gone_ends_the_load() -> None:
    def drop(peer: Peer) -> None:
        peer.take_call()
        peer.take_call()

    with scripted(drop) as port, pytest.raises(LoadError, match="no gRPC connection"):
        run(port, calls=10, in_flight=2)
    with scripted(drop) as port:
        result = run(port, calls=2, in_flight=2)
    assert (result.calls, result.failures) == (2, 2)


def test_no_settings_no_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises((ProtocolError, ConnectionError)):
            GrpcConnection(Endpoint("127.0.0.1", listener.getsockname()[1]))
        thread.join()


def test_the_windows_of_the_server_are_kept_to() -> None:
    """No byte of the body is sent before a window opens, then exactly as many as it is wide."""
    body = length_prefixed(bytes(range(256)) * 8)

    def script(peer: Peer) -> None:
        kind, flags, stream_id, _ = peer.read()
        assert (kind, flags) == (HEADERS, END_HEADERS)
        peer.send(frame(PING, 0, 0, b"no data!"))  # its answer shows that nothing came before
        assert peer.read() == (PING, ACK, 0, b"no data!")
        peer.send(window(stream_id, 1000))
        assert peer.read() == (DATA, 0, stream_id, body[:1000])
        peer.send(frame(SETTINGS, 0, 0, initial_window(500)))  # widens open streams too
        assert peer.read() == (DATA, 0, stream_id, body[1000:1500])
        peer.send(window(stream_id, 100_000))
        assert peer.read() == (DATA, END_STREAM, stream_id, body[1500:])
        peer.send(answer(stream_id))
        peer.wait_for_end()

    with scripted(script, settings=initial_window(0)) as port:
        assert run(port, 1, Request("test", "/bench.Echo/Echo", bytes(range(256)) * 8)).failures == 0


def test_a_call_answered_before_it_was_fully_asked_is_cancelled() -> None:
    def script(peer: Peer) -> None:
        _, _, stream_id, _ = peer.read()
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream_id, b"\x88"))
        assert peer.read()[:3] == (RST_STREAM, 0, stream_id)
        peer.wait_for_end()

    with scripted(script, settings=initial_window(0)) as port:
        assert run(port, calls=1).failures == 1


def test_the_window_of_the_connection_is_shared_by_all_calls() -> None:
    request = Request("test", "/bench.Echo/Echo", bytes(9_995))  # bodies of 10,000 bytes

    def script(peer: Peer) -> None:
        stream_ids = []
        for _ in range(7):
            stream_ids.append(peer.read()[2])
            _, flags, _, payload = peer.read()
            assert (len(payload), flags) == ((10_000, END_STREAM) if len(stream_ids) < 7 else (5_535, 0))
        peer.send(window(0, 100_000))
        _, flags, stream_id, payload = peer.read()
        assert (len(payload), flags, stream_id) == (4_465, END_STREAM, stream_ids[-1])
        peer.send(*map(answer, stream_ids))
        peer.wait_for_end()

    with scripted(script) as port:
        assert run(port, calls=7, request=request, in_flight=7).failures == 0


def test_what_the_socket_does_not_take_is_sent_later() -> None:
    """32 MB, all windows open: far more than the socket takes before the peer reads."""
    message = bytes(range(256)) * (1 << 17)

    def script(peer: Peer) -> None:
        peer.send(window(0, 2**31 - 1 - 65_535))
        body, flags = bytearray(), 0
        while not flags & END_STREAM:
            kind, flags, stream_id, payload = peer.read()
            body += payload if kind == DATA else b""
        assert body == length_prefixed(message)
        peer.send(answer(stream_id))
        peer.wait_for_end()

    with scripted(script, settings=initial_window(2**31 - 1)) as port:
        assert run(port, calls=1, request=Request("test", "/bench.Echo/Echo", message)).failures == 0
