"""One connection: the requests on it one after another, their answers, and how long each may take.

Requests are read and answers are written on the intake thread (answers of other threads come by HttpFront.send), as far
as the network takes them at once. Parts of answers that go on are written by the thread that has them.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from covey_server.calls.call import Buffer
from covey_server.calls.status import Status
from covey_server.fronts import CloseReason
from covey_server.fronts.http import answers, limits
from covey_server.fronts.http.burst import ReceivedBurst
from covey_server.fronts.http.known_request import KnownRequest
from covey_server.fronts.http.limits import READ_BYTES
from covey_server.fronts.http.reading import RequestReader, timed_out
from covey_server.fronts.http.received import ReceivedCall, made_id
from covey_server.fronts.http.tls import TlsLayer
from covey_server.fronts.http.wire import Wire

if TYPE_CHECKING:
    from covey_server.fronts.http.front import HttpFront


class Connection:
    """Only `send_part` and `closes_after` may be used outside the intake thread."""

    __slots__ = (
        "_close_after", "_counted_bytes", "_current", "_has_asked", "_is_lingering", "_lock", "_owes_continue",
        "_waiting", "_waiting_bytes", "_wire", "deadline_s", "front", "is_reading", "is_writing", "peer", "reader",
        "since_s",
    )  # fmt: skip

    def __init__(self, front: HttpFront, connected: socket.socket, peer: str, tls: TlsLayer | None) -> None:
        self.front = front
        self.peer = peer
        self.reader = RequestReader(self)
        self.is_reading = True  # what the selector waits for
        self.is_writing = False
        self.since_s = time.monotonic()  # since when nothing is asked or answered
        self.deadline_s = self.since_s + limits.HEAD_S  # for what has to happen next
        self._has_asked = False
        self._lock = threading.Lock()  # of all that follows
        self._wire = Wire(connected, tls)
        self._current: ReceivedCall | ReceivedBurst | None = None  # handed over and not answered
        self._waiting: deque[ReceivedCall] = deque()  # behind it: callers may send before they are answered
        self._waiting_bytes = 0  # of their bodies
        self._counted_bytes = 0  # of the answer that is being written, by admission
        self._close_after = False  # the answer
        self._owes_continue = False  # once the requests before are answered
        self._is_lingering = False  # everything is written; the caller is to close

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._wire.is_closed

    @property
    def principal(self) -> str:
        """Who calls, by the certificate; empty without one."""
        return self._wire.principal

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being made or written, or is on its way as the last one."""
        return self._current is not None or self._wire.rest is not None or self._is_lingering

    @property
    def _is_busy(self) -> bool:
        """Under the lock: whether an answer to come now would not be the next one on the network."""
        return self._current is not None or self._wire.rest is not None or bool(self._waiting)

    @property
    def is_new(self) -> bool:
        """Whether its first request may be on the way: callers send it as soon as they are connected."""
        return not self._has_asked and not self.is_closed and time.monotonic() < self.since_s + limits.NEW_S

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked and nothing is being answered."""
        return self.reader.is_idle and not self.is_answering

    def fileno(self) -> int:
        return self._wire.fileno()

    # Reading, on the intake thread.

    def receive(self) -> None:
        """Reads what has come. Behind a connection's first request it looks for its end too: who has hung up by then is
        not worth an answer, and callers who do that on purpose cost far less so. Not if the request has no body: it
        costs little, and probes by `nc` close their sending side at once and wait for the answer."""
        is_first = not self._has_asked
        self._receive()
        if is_first and self._current is not None and self._current.has_body and not self.is_closed:
            self._receive()

    def _receive(self) -> None:
        reader = self.reader
        if (data := self._wire.receive(READ_BYTES if reader.is_idle else reader.read_bytes)) is None:
            return
        if not data:  # it is gone, or has closed its side, which servers take for the same
            self.drop()
            return
        if self._wire.is_encrypted and not (data := self._decrypt(data)):
            return
        was_idle, was_in_body = reader.is_idle, reader.in_body
        reader.feed(data)
        if not reader.is_idle:
            self._set_deadline(is_new=was_idle, is_new_body=not was_in_body)
        if self._waiting:  # enough is read; the rest waits in the network
            self.front.watch(self, reading=False, writing=self._wire.rest is not None)

    def take(self, call: ReceivedCall) -> None:
        """Hands over a request, or lets it wait until all before it are answered and written."""
        self._has_asked = True
        if call.close:
            self.reader.close()
        with self._lock:
            if self._wire.rest is None:
                self.deadline_s = math.inf
            if self._is_busy:
                self._waiting.append(call)
                self._waiting_bytes += len(call.payload)
                self.front.unfinished_bytes += len(call.payload)
                return
            self._current = call
        self.front.ready.append((call.target.handler, call))

    def take_known(self, known: KnownRequest, body: bytes, principal: str) -> None:
        """As `take`, for a request that was not parsed: with others that came with it, if it may be."""
        if known.target.burst_handler is not None:
            with self._lock:
                if not self._is_busy:
                    self._has_asked = True
                    self.deadline_s = math.inf
                    self._current = burst = self.front.burst_of(known)
                    burst.add(self, body, principal)
                    return
        self.take(known.call(self, body, self.front.now_ns, principal, known.request_id or made_id()))

    def send_continue(self) -> None:
        """Tells the caller to send its body."""
        with self._lock:
            self._owes_continue = self._is_busy  # now it would interrupt an answer, or come before it
            if not self._owes_continue:
                self._write(answers.CONTINUE)
        self._watch_writing()

    def attend(self) -> None:
        """Does what another thread has left to this one: after an answer, or the rest of it."""
        if self.is_closed:
            self.drop()
            return
        with self._lock:
            is_writing, call = self._wire.rest is not None, None
            is_ending = self._close_after and not is_writing and self._current is None
            if not is_writing and not is_ending and self._current is None and self._waiting:
                call = self._current = self._waiting.popleft()
                self._forget_waiting(len(call.payload))
            elif self._owes_continue and not self._is_busy:
                self._owes_continue = False
                if self.reader.in_body:
                    self._write(answers.CONTINUE)
                    is_writing = self._wire.rest is not None
        if call is not None:
            self.front.ready.append((call.target.handler, call))
        if is_ending and not self._is_lingering:
            self._linger()
        self.front.watch(self, reading=not self._waiting, writing=is_writing)

    @property
    def overdue(self) -> CloseReason | None:
        """Why `expire` would close the connection; None if that is the caller's turn, who has its last answer."""
        if self._is_lingering:
            return None
        if self._wire.rest is not None:
            return "unread"
        if self.reader.is_idle:
            return "idle" if self._has_asked else "preface"
        return "unfinished" if self.reader.in_body else "preface"

    def expire(self) -> None:
        """Does what is due at `deadline_s`."""
        if self._wire.rest is not None or self._is_lingering or self.reader.is_idle:
            self.drop()
        else:
            self.deadline_s = math.inf
            self.reader.refuse(timed_out("body" if self.reader.in_body else "line and headers"))

    @property
    def waiting(self) -> int:
        """How many requests wait behind another one."""
        return len(self._waiting)

    @property
    def held_bytes(self) -> int:
        """Of bodies that are not whole yet, or wait behind another request."""
        return self.reader.body_bytes + self._waiting_bytes

    def refuse(self, refusal: Status) -> None:
        """Refuses the request that is being received; drops a connection whose requests wait."""
        if self._waiting_bytes:
            self.drop()
        else:
            self.reader.refuse(refusal)

    def drop(self) -> None:
        """Closes the connection at once. Whoever still answers does so for nobody."""
        self.front.forget(self)
        with self._lock:
            self._wire.close()
            counted_bytes, self._counted_bytes = self._counted_bytes, 0
            calls = [*self._waiting] if self._current is None else [self._current, *self._waiting]
            self._waiting.clear()
            self._forget_waiting(self._waiting_bytes)
        for call in calls:
            call.cancel(self)
        self.reader.close()
        if counted_bytes:
            self.front.written(counted_bytes, self.peer)

    # Writing.

    def closes_after(self, call: ReceivedCall) -> bool:
        """Whether this answer is the last one."""
        call.close = call.close or (self.front.is_draining and not self._waiting)
        return call.close

    def send(self, data: bytes, body: Buffer, counted_bytes: int, *, close: bool) -> bool:
        """Writes the answer of the call that was handed over: `data`, then `body`; with `close` it is the last one.
        `counted_bytes` are what admission counts until they are written. Returns whether nothing is left to be written;
        else `continue_writing` or `drop` count them out."""
        wire = self._wire
        with self._lock:
            if wire.is_closed:
                return True
            self._current = None
            self._close_after = close
            self._counted_bytes = counted_bytes
            if data:
                wire.write(data, body)
            if is_written := wire.rest is None and not wire.is_closed:
                self._finish()
            else:
                self.deadline_s = time.monotonic() + limits.UNREAD_S
            needs_attention = not is_written or close or self._waiting or self._owes_continue
        if needs_attention:
            self.front.wake(self)
        return is_written

    def send_part(self, call: ReceivedCall, data: bytes) -> bool:
        """Writes a part of an answer that goes on. False, and nothing is written, while the part before is not taken or
        if the connection is closed."""
        with self._lock:
            if self._current is not call or self.is_closed or self._wire.rest is not None:
                return False
            self._write(data)
            needs_attention = self.is_closed or self._wire.rest is not None
        if needs_attention:
            self.front.wake(self)
        return True

    def continue_writing(self) -> None:
        """Writes more of the answer, since the network takes more; on the intake thread."""
        counted_bytes = 0
        with self._lock:
            if self._wire.rest is not None:
                sent_bytes, is_whole = self._wire.write_more()
                if not is_whole:
                    self.deadline_s += sent_bytes / limits.SLOWEST_BYTES_S
                    return
                if not self.is_closed:
                    counted_bytes = self._counted_bytes
                    self._finish()
        if counted_bytes:
            self.front.written(counted_bytes, self.peer)
        self.attend()

    def _write(self, data: bytes, body: Buffer = b"") -> None:
        """Under the lock."""
        self._wire.write(data, body)
        if self._wire.rest is not None:
            self.deadline_s = time.monotonic() + limits.UNREAD_S

    def _finish(self) -> None:
        """Under the lock: the answer is written."""
        self._counted_bytes = 0
        self.since_s = now_s = time.monotonic()
        if self._current is not None:  # its answer has further parts
            self.deadline_s = math.inf
        elif not self.reader.is_idle or not self._has_asked:  # the next request has begun to come, or the first shall
            self.deadline_s = now_s + limits.HEAD_S
        else:
            self.deadline_s = now_s + (self.front.limits.idle_s or math.inf)

    # Further steps of the intake thread.

    def _decrypt(self, data: bytes) -> bytes:
        with self._lock:
            data = self._wire.decrypt(data)
        if self.is_closed:
            self.drop()
            return b""
        self._watch_writing()
        return data

    def _watch_writing(self) -> None:
        if self._wire.rest is not None and not self.is_writing:
            self.front.watch(self, reading=self.is_reading, writing=True)

    def _set_deadline(self, *, is_new: bool, is_new_body: bool) -> None:
        """For the rest of the request that is being received, unless the caller is to take its answer first."""
        if self._wire.rest is not None:
            return
        if self.reader.in_body:
            if is_new_body:
                self.since_s = time.monotonic()
            self.deadline_s = self.since_s + limits.BODY_S + self.reader.body_bytes / limits.SLOWEST_BYTES_S
        elif is_new and self._has_asked:
            self.deadline_s = time.monotonic() + limits.HEAD_S

    def _forget_waiting(self, body_bytes: int) -> None:
        """Under the lock, on the intake thread."""
        self._waiting_bytes -= body_bytes
        self.front.unfinished_bytes -= body_bytes

    def _linger(self) -> None:
        """Closes this side only: closing both while the caller still sends would destroy the answer on its way."""
        self._is_lingering = True
        self.reader.close()
        with self._lock:
            self._wire.end()
        self.deadline_s = time.monotonic() + limits.LINGER_S
