"""The HTTP front: takes requests of all connections on one thread and hands over those that came together.

As with the native front, the intake thread runs short batches itself, and another one takes over if it is held up. An
event loop could not be taken over.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence

from covey_server.calls import status
from covey_server.calls.call import HTTP_PEER, Buffer, Call
from covey_server.calls.http import Route
from covey_server.calls.service import Handler, Services
from covey_server.calls.status import Status
from covey_server.errors import Overloaded, RefusalReason, Stopping
from covey_server.fronts import CLOSE_REASONS, CloseReason
from covey_server.fronts.http.burst import ReceivedBurst
from covey_server.fronts.http.connection import Connection
from covey_server.fronts.http.heads import REASONS
from covey_server.fronts.http.hosts import Hosts
from covey_server.fronts.http.known_request import KnownRequest, KnownRequests
from covey_server.fronts.http.limits import HttpLimits
from covey_server.fronts.http.listening import Listener
from covey_server.fronts.http.origins import Origins
from covey_server.fronts.http.routing import Router
from covey_server.fronts.http.tls import TlsLayer
from covey_server.fronts.intake import Intake
from covey_server.fronts.security import Security

log = logging.getLogger(__name__)

_SWEEP_S = 0.5  # between two looks for what is overdue
_SWEEP_PER_CONNECTION_S = 1e-5  # longer with many connections, so that looks cost little
_BURST = 32  # connections read before what came by them is handed over: a batch of small images
_NOTSENT_BYTES = 256 << 10  # of an answer, kept by the kernel for a caller who does not read it
_FLUSH_TICK_S = 0.005
Answer = tuple[Connection, bytes, Buffer, int, bool]
"""A connection, and what its `send` is to be given."""

_STOPPING = status.of(Stopping("the server is shutting down; send the request again, to another server or later"))


class HttpFront:
    """Listens from the beginning, answers from `start` to `stop`."""

    def __init__(
        self, host: str, port: int, routes: Sequence[Route], services: Services, limits: HttpLimits,
        security: Security, origins: Origins, hosts: Hosts, *, shares_port: bool = False,
    ) -> None:  # fmt: skip
        """`shares_port`: with other processes of this server. Raises PortUnavailable if the address cannot be bound."""
        self.limits = limits
        self.router = Router(routes)
        self.origins = origins
        self.hosts = hosts
        self.tokens = security.tokens
        self.scheme = "http" if security.certificates is None else "https"
        self.written = services.written
        self.ready: list[tuple[Handler, Call]] = []  # received and not yet handed over
        self.known = KnownRequests()
        self.now_ns = 0  # when what is being read has come
        self.unfinished_bytes = 0  # of bodies that are not whole yet, or wait behind another request
        self.closed: dict[CloseReason, int] = dict.fromkeys(CLOSE_REASONS, 0)
        self.refused: dict[RefusalReason, int] = dict.fromkeys(REASONS.values(), 0)
        self.is_draining = False
        self._certificates = security.certificates
        self._services = services
        self._connections: set[Connection] = set()
        self._woken: deque[Connection] = deque()
        self._bursts: dict[KnownRequest, ReceivedBurst] = {}  # gathered and not yet handed over
        self._answers: deque[Sequence[Answer]] = deque()  # of other threads, to be written
        self._thread = 0  # the intake thread
        self._is_waking = False
        self._is_stopped = False
        self._is_ending = False
        self._has_refused = False  # at the end, what is not whole
        self._sweep_s = 0.0
        self._selector = selectors.DefaultSelector()
        self._listener = Listener(host, port, self._selector, self._add, self._make_places, shares_port=shares_port)
        self.port = self._listener.port
        self._wake_receiver, self._wake_sender = socket.socketpair()
        for each in (self._wake_receiver, self._wake_sender):
            each.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._attend)
        self._intake = Intake("http", self._take)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def start(self) -> None:
        """Begins to take requests."""
        self._intake.start()

    def take_over(self, thread: int) -> None:
        """As Front.take_over."""
        self._intake.take_over(thread)

    def drain(self) -> None:
        """Tells callers, with each answer from now on, that their connection ends."""
        self.is_draining = True

    def stop(self, flush_s: float) -> None:
        """Takes no more connections, and closes those there are as soon as all answers are written, or after `flush_s`.
        Answers what has come by then, and tells callers who are still sending a request."""
        self.is_draining = True
        give_up = time.monotonic() + flush_s
        self._is_ending = True
        self._wake()
        while time.monotonic() < give_up and (
            not self._has_refused or any(each.is_answering or each.is_new for each in tuple(self._connections))
        ):
            time.sleep(_FLUSH_TICK_S)
        self._is_stopped = True
        self._wake()
        self._intake.join(max(1.0, flush_s))
        for connection in tuple(self._connections):
            connection.drop()
        self._listener.close()
        self._selector.close()
        self._wake_sender.close()
        self._wake_receiver.close()

    # For connections.

    def count_refusal(self, refusal: Status) -> None:
        """Counts a request that was refused before a protocol saw it."""
        if (reason := REASONS.get(refusal.http)) is not None:
            self.refused[reason] += 1

    def wake(self, connection: Connection) -> None:
        """Lets the intake thread attend to a connection; from any thread."""
        self._woken.append(connection)
        self._call_intake()

    def burst_of(self, known: KnownRequest) -> ReceivedBurst:
        """The requests like this one that are handed over next, to add one."""
        burst = self._bursts.get(known)
        if burst is None:
            burst = self._bursts[known] = ReceivedBurst(self, known, self.now_ns)
        return burst

    def send(self, answers: Sequence[Answer]) -> None:
        """Writes answers, from any thread. The intake thread writes those of other threads too: each write gives up
        the interpreter's lock, for which two threads would then compete. That takes 0.66 times the CPU per small
        request (median of 5 rounds by turns, 2 shared AMD EPYC cores, 2026-11-29)."""
        if threading.get_ident() == self._thread:
            self._write(answers)
            return
        self._answers.append(answers)
        self._call_intake()

    def watch(self, connection: Connection, *, reading: bool, writing: bool) -> None:
        """Sets what the intake thread waits for."""
        if (reading, writing) == (connection.is_reading, connection.is_writing) or connection not in self._connections:
            return
        before = connection.is_reading or connection.is_writing
        connection.is_reading, connection.is_writing = reading, writing
        events = selectors.EVENT_READ * reading | selectors.EVENT_WRITE * writing
        if not events:
            self._selector.unregister(connection)
        elif before:
            self._selector.modify(connection, events, connection)
        else:
            self._selector.register(connection, events, connection)

    def forget(self, connection: Connection) -> None:
        """Drops a connection that is about to be closed."""
        if connection in self._connections:
            self._connections.discard(connection)
            if connection.is_reading or connection.is_writing:
                self._selector.unregister(connection)

    # The intake thread.

    def _take(self) -> bool:
        """Waits for events, reads all that came, and hands it over."""
        self._thread = threading.get_ident()
        is_quiet = not self._connections and not self._listener.is_paused
        events = self._selector.select(None if is_quiet else _SWEEP_S)
        if self._is_stopped:
            return False
        for start in range(0, len(events) or 1, _BURST):
            self.now_ns = time.monotonic_ns()
            try:
                self._read(events[start : start + _BURST])
            except Exception:
                log.exception("HTTP connections were not attended to; this is a bug")
            self._hand_over()
            if not self._intake.is_current:
                break  # the other thread finds the events that are left
        return True

    def _hand_over(self) -> None:
        """Last: while a batch holds this thread up, another one may take over."""
        if not self.ready and not self._bursts:
            return
        calls = [each for each in self.ready if not each[1].cancelled]  # others have hung up since they were read
        self.ready = []
        gathered, self._bursts = self._bursts, {}
        for burst in gathered.values():
            burst.complete()
        bursts = [(known.target.handler, known.target.burst_handler, burst) for known, burst in gathered.items()]
        self._services.serve_bursts(bursts, calls, inline=True)

    def _read(self, events: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in events:
            each = key.data
            if not isinstance(each, Connection):
                each()
                continue
            try:
                if mask & selectors.EVENT_WRITE:
                    each.continue_writing()
                if mask & selectors.EVENT_READ and not each.is_closed:
                    each.receive()
            except Exception:
                log.exception("a connection failed; this is a bug")
                each.drop()
        if self.now_ns >= self._sweep_s * 1e9:
            self._sweep(self.now_ns / 1e9)
        if self.unfinished_bytes > self.limits.max_unfinished_bytes:
            self._refuse_largest()
        if self._is_ending and not self._has_refused:
            self._end()

    def _end(self) -> None:
        """First accepts the connections that wait. Then, with all that has come read, refuses what is not whole."""
        if not self._listener.is_closed:
            self._listener.accept_all_and_close()
            self._wake()  # the next turn reads what they have sent
            return
        for connection in tuple(self._connections):
            if not connection.reader.is_idle:
                connection.refuse(_STOPPING)
        self._has_refused = True

    def _add(self, connected: socket.socket, address: Sequence[object]) -> None:
        if len(self._connections) >= self.limits.max_connections:
            self._make_places()
            if len(self._connections) >= self.limits.max_connections:
                self.closed["places"] += 1
                connected.close()
                return
        connected.setblocking(False)
        with contextlib.suppress(OSError):  # it may be gone
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_BYTES)
        tls = None if self._certificates is None else TlsLayer(self._certificates.identity.server_context)
        connection = Connection(self, connected, f"{HTTP_PEER}{address[0]}:{address[1]}", tls)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ, connection)

    def _attend(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(4096)
        self._is_waking = False  # first: whoever wakes from now on is heard
        while self._answers:
            self._write(self._answers.popleft())
        while self._woken:
            self._woken.popleft().attend()

    def _write(self, answers: Sequence[Answer]) -> None:
        for connection, data, body, counted_bytes, close in answers:
            if connection.send(data, body, counted_bytes, close=close) and counted_bytes:
                self.written(counted_bytes, connection.peer)

    def _call_intake(self) -> None:
        """Has `_attend` called soon; once, however many ask."""
        if not self._is_waking:
            self._is_waking = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full: then it wakes anyway; or closed
            self._wake_sender.send(b"\0")

    def _sweep(self, now_s: float) -> None:
        self._sweep_s = now_s + max(_SWEEP_S, len(self._connections) * _SWEEP_PER_CONNECTION_S)
        for connection in tuple(self._connections):
            if connection.deadline_s < now_s:
                if (reason := connection.overdue) is not None:
                    self.closed[reason] += 1
                connection.expire()
        self._listener.resume(now_s)

    def _make_places(self) -> None:
        """Closes connections that have been silent for longest."""
        count = 1 + len(self._connections) // 64
        idle = (each for each in self._connections if each.is_idle)
        for connection in heapq.nsmallest(count, idle, key=lambda each: each.since_s):
            self.closed["places"] += 1
            connection.drop()

    def _refuse_largest(self) -> None:
        """Refuses the largest bodies that are not whole, until a quarter of the room is free."""
        by_size = sorted(self._connections, key=lambda each: each.held_bytes, reverse=True)
        for connection in by_size:
            if self.unfinished_bytes <= self.limits.max_unfinished_bytes * 3 // 4:
                return
            self.closed["unfinished"] += 1
            connection.refuse(
                status.of(
                    Overloaded(
                        f"requests that are not whole yet hold {self.unfinished_bytes:,} bytes, this one "
                        f"{connection.held_bytes:,}; send it again later, or in smaller ones",
                        retry_after_ms=1000,
                    )
                )
            )
