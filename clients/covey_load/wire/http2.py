"""Owns one client connection: the life of unary gRPC calls on a plain socket, flow control included.

Not a general client. It exists because a gRPC library costs more per call than the server under test, and
would starve it on a machine that both share. Header blocks of answers are not decoded: a call has
succeeded when a message came before its trailers, and has failed when there were trailers only (servers
send no message with an error); `grpc_status` finds the code of a failure where it is asked for. How frames look
is `frames`'; when to open calls and what to do with outcomes is the generators'. Sections named are those
of RFC 9113.
"""

from __future__ import annotations

import itertools
import time

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
from covey_load.wire.outcome import Outcome, ProtocolError
from covey_load.wire.sockets import Endpoint, Transport
from covey_load.wire.uploads import Uploads

RECEIVE_BYTES = 1 << 16  # below what malloc would map and unmap at every call


class GrpcConnection:
    """Calls on one connection.

    Never blocks after the handshake: `flush` sends and `receive` reads what is possible at the moment.
    """

    def __init__(
        self, endpoint: Endpoint, first_stream_id: int = 1, *, statuses: bool = False, answers: bool = False
    ) -> None:
        """Connects and waits for the server's settings. `statuses` finds out the codes of calls that fail,
        `answers` keeps the messages of those that do not.

        Raises:
            OSError: nobody listens, or no settings within ten seconds.
            ProtocolError: the server closed the connection instead.
        """
        self.max_concurrent_calls = MAX_STREAM_ID
        self.retiring = False  # opens no more calls: the server is going away, or stream ids ran out
        self._statuses = statuses
        self._keep_answers = answers
        self._next_stream_id = first_stream_id
        # By stream id, every call in flight: when it was due and when it was sent, and the number of its request.
        self._started: dict[int, tuple[int, int, int]] = {}
        self._answered: dict[int, bytes] = {}  # streams whose message has come, trailers yet to come
        self._uploads = Uploads()
        self._consumed_bytes = 0
        self._settings_came = False
        self._incoming = b""
        self._outgoing: list[bytes] = []
        self._unsent = memoryview(b"")  # what the socket did not take of the last flush; goes before `_outgoing`
        self._outcomes: list[Outcome] = []
        self.socket: Transport = endpoint.connect("h2")
        try:
            self._shake_hands()
        except BaseException:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    @property
    def in_flight(self) -> int:
        """Calls without an outcome."""
        return len(self._started)

    @property
    def can_open(self) -> bool:
        """Whether `open_call` is allowed now."""
        return not self.retiring and len(self._started) < self.max_concurrent_calls

    @property
    def has_outgoing(self) -> bool:
        """Whether `flush` left something that the socket did not take."""
        return bool(self._unsent or self._outgoing)

    def open_call(self, request: Request, due_ns: int | None = None) -> None:
        """Queues a call that was meant to be sent at `due_ns` (of time.perf_counter_ns), or now. Only while
        `can_open`."""
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

    def flush(self) -> None:
        """Sends what is queued, as far as the socket takes it."""
        if not self._unsent:
            if not self._outgoing:
                return
            self._unsent = memoryview(b"".join(self._outgoing))
            self._outgoing.clear()
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:  # the next read says so too, and ends the calls
            self._unsent = memoryview(b"")
            self._outgoing.clear()

    def receive(self) -> list[Outcome]:
        """Reads what has come; returns the calls that ended by it.

        A lost connection ends all its calls as failed and sets `retiring`.
        """
        self._outcomes = []
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return self._outcomes
        except ConnectionError:
            data = b""
        if data:
            self._read_frames(data, time.perf_counter_ns())
        else:
            self._fail_all()
        return self._outcomes

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

    def close(self) -> None:
        """Closes the socket. Calls still in flight are forgotten."""
        self.socket.close()

    def _shake_hands(self) -> None:
        """section 3.4. Also opens the way back as wide as it goes, so answers never wait for us."""
        settings = setting.pack(ENABLE_PUSH, 0) + setting.pack(INITIAL_WINDOW_SIZE, MAX_WINDOW_BYTES)
        if self._statuses:
            settings += setting.pack(HEADER_TABLE_SIZE, 0)
        widening = MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, word.pack(widening)))
        while not self._settings_came:
            data = self.socket.recv(RECEIVE_BYTES)
            if not data:
                raise ProtocolError("it closed the connection instead of sending HTTP/2 settings")
            self._read_frames(data, 0)
        self.socket.sendall(b"".join(self._outgoing))
        self._outgoing.clear()

    def _read_frames(self, data: bytes, now_ns: int) -> None:
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
                    if stream_id in self._answered:
                        status = OK
                    else:
                        status = status_in(data[start:end]) if self._statuses else NO_STATUS
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

    def _fail_all(self) -> None:
        self.retiring = True
        self._uploads.clear()
        self._outgoing.clear()
        self._unsent = memoryview(b"")
        now_ns = time.perf_counter_ns()
        for stream_id in list(self._started):
            self._end_call(stream_id, now_ns, NO_STATUS)
