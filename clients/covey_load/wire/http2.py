"""Owns one client connection: the life of unary gRPC calls on a plain socket, flow control included.

Not a general client. It exists because a gRPC library costs more per call than the server under test, and
would starve it on a machine that both share. Header blocks of answers are not decoded: a call has
succeeded when a message came before its trailers, and has failed when there were trailers only (servers
send no message with an error); `grpc_status` finds the code of a failure. `frames` owns how frames look, `loops` when
calls are opened. Sections named are those of RFC 9113.
"""

from __future__ import annotations

import itertools
import time

from covey_load.wire.connection import RECEIVE_BYTES, Connection, Outcome, ProtocolError
from covey_load.wire.frames import (
    ACK,
    CANCEL,
    DATA,
    DEFAULT_WINDOW_BYTES,
    ENABLE_PUSH,
    END_STREAM,
    FRAME_HEADER_BYTES,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Request,
    frame,
    frame_header,
    setting,
    word,
)
from covey_load.wire.grpc_status import DEADLINE_EXCEEDED, NO_STATUS, OK, status_in
from covey_load.wire.sockets import Endpoint
from covey_load.wire.uploads import Uploads


class GrpcConnection(Connection[Request]):
    """Unary gRPC calls on one connection. Never blocks after the handshake."""

    def __init__(self, endpoint: Endpoint, first_stream_id: int = 1, *, answers: bool = False) -> None:
        """Connects and waits for the server's settings. `answers` keeps the messages of successful calls.
        `first_stream_id` (odd) is where it begins to count; at 2**31 ids run out, and it retires.

        Raises:
            OSError: nobody listens, or no settings within ten seconds.
            ProtocolError: the server closed the connection instead.
        """
        super().__init__(endpoint.connect("h2"), answers=answers)
        self.max_concurrent_calls = MAX_STREAM_ID
        self.settings: dict[int, int] = {}  # the server's, by their numbers
        self._next_stream_id = first_stream_id
        # By stream id, every call in flight: when it was due and when it was sent, and the number of its request.
        self._started: dict[int, tuple[int, int, int]] = {}
        self._answered: dict[int, bytes] = {}  # streams whose message has come, trailers yet to come
        self._uploads = Uploads()
        self._consumed_bytes = 0
        self._settings_came = False
        try:
            self._shake_hands()
        except BaseException:
            self.close()
            raise
        self.socket.setblocking(False)

    @property
    def in_flight(self) -> int:
        return len(self._started)

    @property
    def can_open(self) -> bool:
        return not self.retiring and len(self._started) < self.max_concurrent_calls

    def open_call(self, request: Request, due_ns: int | None = None) -> None:
        stream_id = self._next_stream_id
        self._next_stream_id += 2
        if self._next_stream_id > MAX_STREAM_ID:
            self.retiring = True
        now_ns = time.perf_counter_ns()
        self._started[stream_id] = (now_ns if due_ns is None else due_ns, now_ns, request.number)
        id_octets = word.pack(stream_id)
        body = request.body
        if self._uploads.take(len(body)):
            self._outgoing += (request.headers_start, id_octets, request.body_start, id_octets, body)
        else:
            self._outgoing += (request.headers_start, id_octets, request.headers_end)
            self._uploads.add(stream_id, body)
            self._outgoing += self._uploads.frames()

    def cancel_older(self, than_ns: int) -> list[Outcome]:
        """Cancels the calls that were due before `than_ns`, as a gRPC client does at its deadline.

        Relies on calls having been opened in the order in which they were due.
        """
        self._outcomes = []
        old = list(itertools.takewhile(lambda stream_id: self._started[stream_id][0] < than_ns, self._started))
        for stream_id in old:
            self._outgoing.append(frame(RST_STREAM, 0, stream_id, word.pack(CANCEL)))
            self._uploads.drop(stream_id)
            self._end_call(stream_id, time.perf_counter_ns(), DEADLINE_EXCEEDED)
        return self._outcomes

    def _shake_hands(self) -> None:
        """Section 3.4. Also opens the way back as wide as it goes, so answers never wait for us."""
        settings_sent = ((ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, MAX_WINDOW_BYTES), (HEADER_TABLE_SIZE, 0))
        settings = b"".join(setting.pack(name, value) for name, value in settings_sent)
        widening = MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, word.pack(widening)))
        while not self._settings_came:
            data = self.socket.recv(RECEIVE_BYTES)
            if not data:
                raise ProtocolError("it closed the connection instead of sending HTTP/2 settings")
            self._read(data, 0)
        self.socket.sendall(b"".join(self._outgoing))
        self._outgoing.clear()

    def _read(self, data: bytes, now_ns: int) -> None:
        data = self._incoming + data
        position = 0
        last_start = len(data) - FRAME_HEADER_BYTES
        while position <= last_start:
            length_and_kind, flags, stream_id = frame_header.unpack_from(data, position)
            start = position + FRAME_HEADER_BYTES
            end = start + (length_and_kind >> 8)
            if end > len(data):
                break
            position = end
            kind = length_and_kind & 0xFF
            if kind == HEADERS:
                if flags & END_STREAM:
                    status = OK if stream_id in self._answered else status_in(data[start:end])
                    self._end_call(stream_id, now_ns, status)
            elif kind == DATA:
                answered = self._answered
                if self._keep_answers:
                    answered[stream_id] = answered.get(stream_id, b"") + data[start:end]
                else:
                    answered[stream_id] = b""
                self._consumed_bytes += end - start
                if flags & END_STREAM:  # no trailers, so no status: not a gRPC answer
                    self._end_call(stream_id, now_ns, NO_STATUS)
            else:
                self._control(kind, flags, stream_id, data[start:end], now_ns)
        self._incoming = data[position:]
        if self._consumed_bytes > MAX_WINDOW_BYTES // 2:
            self._outgoing.append(frame(WINDOW_UPDATE, 0, 0, word.pack(self._consumed_bytes)))
            self._consumed_bytes = 0

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes, now_ns: int) -> None:
        """Everything but answers. Kinds not named here mean nothing to us (section 5.5)."""
        if kind == WINDOW_UPDATE:
            self._uploads.widen(stream_id, *word.unpack(payload))
            self._outgoing += self._uploads.frames()
        elif kind == PING and not flags & ACK:
            self._outgoing.append(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._settings_came = True
            self._apply_settings(payload)
            self._outgoing.append(frame(SETTINGS, ACK, 0))
            self._outgoing += self._uploads.frames()
        elif kind == RST_STREAM:
            self._uploads.drop(stream_id)
            self._end_call(stream_id, now_ns, NO_STATUS)
        elif kind == GOAWAY:
            self.retiring = True
            (last_taken,) = word.unpack_from(payload)
            for refused in [call for call in self._started if call > last_taken]:
                self._end_call(refused, now_ns, NO_STATUS)

    def _apply_settings(self, payload: bytes) -> None:
        for name, value in setting.iter_unpack(payload):
            self.settings[name] = value
            if name == MAX_CONCURRENT_STREAMS:
                self.max_concurrent_calls = value
            elif name == MAX_FRAME_SIZE:
                self._uploads.max_frame_bytes = value
            elif name == INITIAL_WINDOW_SIZE:
                self._uploads.set_initial_window(value)

    def _end_call(self, stream_id: int, now_ns: int, status: int) -> None:
        started = self._started.pop(stream_id, None)
        answer = self._answered.pop(stream_id, b"")
        if started is None:  # ended before, for example a reset that follows the trailers
            return
        due_ns, sent_ns, number = started
        if self._uploads.drop(stream_id):  # answered before it was fully asked: our half is still open
            self._outgoing.append(frame(RST_STREAM, 0, stream_id, word.pack(CANCEL)))
        self._outcomes.append(Outcome(number, due_ns, sent_ns, now_ns, status, answer))

    def _lose_calls(self) -> None:
        self._uploads.clear()
        now_ns = time.perf_counter_ns()
        for stream_id in list(self._started):
            self._end_call(stream_id, now_ns, NO_STATUS)
        self._outgoing.clear()
