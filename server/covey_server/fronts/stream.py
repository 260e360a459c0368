"""One stream on the grpcio front: each message is a call of its own, handled as any other; this owns what is around
them.

Back-pressure works in both directions. What a stream holds, from reading a message until its answer is written, is
limited in number and in bytes. At the limit nothing more is read: a caller who does not read answers is soon not read
either. A request for which admission has no room is not refused: the stream stops reading and tries it again.

All streams together have a limit too: one may hold no more than is left free. Reads that have begun cannot be taken
back, so the limit can be passed, at most by as much again. What comes then does not wait for room; it is refused, as a
call of its own would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

import grpc

from covey_server.calls import status
from covey_server.calls.call import Call, Metadata
from covey_server.calls.service import Element, Services, StreamMethod, handle
from covey_server.calls.status import Status
from covey_server.errors import Overloaded, Stopping
from covey_server.fronts import CALL_BYTES
from covey_server.fronts.grpcio_security import Caller
from covey_server.fronts.holdings import Holdings

MAX_ELEMENTS = 128  # held by one stream: enough for a full batch to run while another gathers
MAX_BYTES = 16 << 20
# For an answer to be taken. If a caller has gone, that is known at once, except behind the native front when both
# directions are full: pygrpc-native 0.5 does not pass it on then.
MAX_STALL_S = 300.0
_OVERLOADED, _STOPPING = status.CODES[Overloaded], status.CODES[Stopping]
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.005, 0.25  # between two attempts to find room; each pause is twice the last
_GOODBYE = Status(
    _STOPPING, "the server is shutting down; send what is not answered to another one, or here once it is back"
)
_STALLED = Status(10, "no answer was taken for too long: the stream has ended")  # ABORTED

UNIX = "unix:"  # how names of peers on a Unix socket begin
Context = grpc.aio.ServicerContext[bytes, bytes]


class StreamedCall(Call):
    """A call that is one element of a stream."""

    __slots__ = ("_element", "_stream", "held_bytes", "is_open", "may_wait", "refused")

    def __init__(
        self, message: bytes, peer: str, arrived_ns: int, deadline_ns: int | None, stream: Stream, element: Element
    ) -> None:
        super().__init__(message, peer, arrived_ns, deadline_ns)
        self.held_bytes = len(message)  # counted for the stream: the message's, later its answer's
        self.is_open = False
        self.may_wait = True
        self.refused = False  # as Overloaded, at the last attempt
        self._stream = stream
        self._element = element

    def open(self) -> None:
        """Puts the message's request in its place. Raises InvalidRequest."""
        self.payload = self._element.open(self.payload)
        if self._element.deadline_us:
            deadline_ns = self.arrived_ns + self._element.deadline_us * 1000
            self.deadline_ns = deadline_ns if self.deadline_ns is None else min(self.deadline_ns, deadline_ns)
        self.is_open = True

    @property
    def metadata(self) -> Metadata:
        return self._stream.caller.metadata

    @property
    def principal(self) -> str:
        return self._stream.caller.principal

    @property
    def waits_for_room(self) -> bool:
        return self.may_wait and self._stream.is_handing_over

    def reply(self, payload: bytes) -> None:
        self._stream.answer(self, self._element.reply(payload))
        if self.record is not None:
            self.record.end(None, len(payload))

    def fail(self, status: Status) -> None:
        if status.code == _OVERLOADED and self.waits_for_room:
            self.refused = True
            return
        self._stream.answer(self, self._element.fail(status))
        if self.record is not None:
            self.record.end(status, 0)
        if status.code == _STOPPING:
            self._stream.end_soon()


class Stream:
    """One open stream. Only `answer`, `end_soon` and `is_handing_over` may be used outside its event loop."""

    def __init__(
        self, method: StreamMethod, services: Services, context: Context, peer: str, caller: Caller, held: Holdings,
        handed: dict[str, int],
    ) -> None:  # fmt: skip
        self._method = method
        self._services = services
        self.caller = caller
        self._context = context
        self._peer = peer
        self._all_held = held
        self._handed = handed
        self._connection = UNIX if peer.startswith(UNIX) else peer
        remaining_s = context.time_remaining()
        self._deadline_ns = None if remaining_s is None else time.monotonic_ns() + int(remaining_s * 1e9)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._calls: set[StreamedCall] = set()  # read and not yet answered on the wire
        self._bytes = 0  # held by these
        self._given: deque[tuple[StreamedCall, bytes]] = deque()  # answers, from any thread
        self._collecting = False
        self._outbox: deque[tuple[StreamedCall, bytes]] = deque()  # the same, once they are counted
        self._to_write = asyncio.Event()
        self._room = asyncio.Event()

    async def serve(self) -> Status | None:
        """Reads until the caller has sent all, or the stream is to end, and answers all that was read. Returns the
        status that the stream then ends with; None for OK."""
        self._reading = asyncio.ensure_future(self._read())
        self._reading.add_done_callback(lambda reading: self._to_write.set())
        try:
            await self._write()
        except TimeoutError:
            return _STALLED
        finally:  # the caller has gone, or nothing is open any more
            self._reading.cancel()
            for call in tuple(self._calls):
                call.cancelled = True
                self._leave(call)
            self._outbox.clear()
        if self._reading.cancelled():
            return _GOODBYE
        self._reading.result()  # raises its error, if it had one
        return None

    def end(self) -> None:
        """Stops reading; once all that was read is answered, the stream ends with UNAVAILABLE."""
        self._reading.cancel()

    def end_soon(self) -> None:
        """The same, from any thread."""
        self._call_soon(self.end)

    @property
    def is_handing_over(self) -> bool:
        """Whether the calling thread is the one that hands calls over: then it is told of the call at hand."""
        return threading.get_ident() == self._thread

    def answer(self, call: StreamedCall, message: bytes) -> None:
        """Answers a call of the stream, from any thread."""
        call.forget_request()
        self._given.append((call, message))
        if not self._collecting:  # one wake-up for all that are answered together
            self._collecting = True
            self._call_soon(self._collect)

    def _collect(self) -> None:
        self._collecting = False  # first: answers given from now on wake the loop again
        while self._given:
            call, message = self._given.popleft()
            if call in self._calls:  # else the stream has ended without it
                self._hold(len(message) - call.held_bytes)
                call.held_bytes = len(message)
                self._outbox.append((call, message))
        self._to_write.set()

    def _call_soon(self, do: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the front has stopped, nobody is there
            self._loop.call_soon_threadsafe(do)

    async def _read(self) -> None:
        await self._context.send_initial_metadata(
            ()
        )  # first: behind an answer that nobody reads, a status could not be sent
        while True:
            await self._wait_until_it_may_read()
            call = self._take(await self._context.read())
            if call is None:
                return
            await self._hand_over(call)
            del call  # else it would live until the next one comes

    async def _wait_until_it_may_read(self) -> None:
        while len(self._calls) >= MAX_ELEMENTS or self._bytes >= min(MAX_BYTES, self._all_held.free_bytes):
            self._room.clear()
            if not self._calls:  # others hold everything; else its own answers wake it
                self._all_held.wake_when_free(self._room)
            await self._room.wait()

    def _take(self, message: object) -> StreamedCall | None:
        """The call in a message that was read. None for EOF: the caller has sent all, or has gone."""
        if not isinstance(message, bytes):
            return None
        arrived_ns = time.monotonic_ns()
        call = StreamedCall(message, self._peer, arrived_ns, self._deadline_ns, self, self._method.element())
        call.may_wait = self._all_held.may_wait
        self._calls.add(call)
        self._hold(call.held_bytes)
        self._handed[self._connection] = self._handed.get(self._connection, 0) + len(message) + CALL_BYTES
        return call

    async def _hand_over(self, call: StreamedCall) -> None:
        """Gives a call to its handler, again and again while there is no room for it."""
        handle(lambda _: call.open(), call)
        if not call.is_open:
            return
        request = call.payload  # handlers remove it from the call
        pause_s = _FIRST_PAUSE_S
        while True:
            call.payload, call.size_bytes = request, len(request)
            call.refused = False
            # grpcio hands messages over one by one: there is no burst to wait for.
            self._services.serve(((self._method.handler, call),), inline=False)
            if not call.refused:
                return
            try:
                await asyncio.sleep(pause_s)
            except asyncio.CancelledError:  # the stream ends before there was room: the call is not answered
                self._leave(call)
                raise
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            if call.deadline_ns is not None and time.monotonic_ns() >= call.deadline_ns:
                call.may_wait = False  # the next attempt is the last one, and counts

    async def _write(self) -> None:
        while True:
            while self._outbox:
                call, message = self._outbox.popleft()
                await self._send(message)
                self._leave(call)
            if not self._calls and self._reading.done():
                return
            await self._to_write.wait()
            self._to_write.clear()

    async def _send(self, message: bytes) -> None:
        """Raises TimeoutError if the caller reads no answers, CancelledError if it has gone."""
        try:
            async with asyncio.timeout(MAX_STALL_S):
                await self._context.write(message)
        except grpc.aio.InternalError:  # how grpcio tells that during a write
            raise asyncio.CancelledError from None

    def _leave(self, call: StreamedCall) -> None:
        if call in self._calls:
            self._calls.discard(call)
            self._hold(-call.held_bytes)
            self._room.set()

    def _hold(self, count: int) -> None:
        self._bytes += count
        self._all_held.add(count)
