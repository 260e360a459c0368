"""Calls as pygrpc-native gives them out: events, whose calls are known by an id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from covey_server.calls.burst import Burst
from covey_server.calls.call import Call, Metadata, find_header
from covey_server.calls.status import Status
from covey_server.fronts import CALL_BYTES, sockets

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront
    from pygrpc_native._native import CallDetails

    # (kind, call id, method id, payload, header or peer, details)
    CallEvent = tuple[int, int, int, bytes, bytes | str | None, CallDetails]

OpenCalls = dict[int, "NativeCall | NativeBurst"]
"""Calls that are not answered yet, by id: only for cancellations, which name a call so."""


class NativeCall(Call):
    """A call that pygrpc-native knows by an id."""

    __slots__ = ("_front", "_id", "_metadata", "_open", "_principal")
    holds_answer = sockets.IS_AVAILABLE  # there the connection guard sees what is written

    def __init__(
        self,
        payload: bytes,
        peer: str,
        arrived_ns: int,
        deadline_ns: int | None,
        metadata: Metadata,
        principal: str,
        front: NativeGrpcFront,
        call_id: int,
        open_calls: OpenCalls,
    ) -> None:
        # The same as Call.__init__, which would cost each request a third of a microsecond to call.
        self.payload = payload
        self.peer = peer
        self.size_bytes = len(payload)
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False
        self.record = None
        self._metadata = metadata
        self._principal = principal
        self._front = front
        self._id = call_id
        self._open = open_calls
        open_calls[call_id] = self

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def principal(self) -> str:
        return self._principal

    def cancel(self, call_id: int) -> None:
        """Tells that the caller has gone."""
        self.cancelled = True

    def reply(self, payload: bytes) -> None:
        self._open.pop(self._id, None)
        self._front.respond(self._id, payload)
        if self.record is not None:
            self.record.end(None, len(payload))

    def fail(self, status: Status) -> None:
        self._open.pop(self._id, None)
        self._front.fail(self._id, status.code, status.message, status.trailing_metadata)
        if self.record is not None:
            self.record.end(status, 0)


class NativeBurst(Burst):
    """Events of one method. The columns that every burst needs are made at once, by functions written in C; the rest is
    read from the events, where it is needed."""

    __slots__ = ("_cancelled", "_events", "_front", "_ids", "_open", "_principals")
    holds_answer = NativeCall.holds_answer

    def __init__(
        self,
        events: Sequence[CallEvent],
        arrived_ns: int,
        principals: Sequence[str] | None,
        front: NativeGrpcFront,
        open_calls: OpenCalls,
    ) -> None:
        """`principals` None: the server asks for no tokens."""
        _, self._ids, _, payloads, _, details = zip(*events, strict=True)
        _, peers, remaining_s = zip(*details, strict=True)
        least_s = None
        if remaining_s.count(None) < len(remaining_s):
            least_s = min(each for each in remaining_s if each is not None)
        super().__init__(payloads, peers, arrived_ns, _deadline_ns(arrived_ns, least_s))
        self._events = events
        self._principals = principals
        self._front = front
        self._open = open_calls
        self._cancelled: set[int] | None = None  # ids
        open_calls.update(zip(self._ids, repeat(self)))

    def count_bytes(self, handed: dict[str, int]) -> None:
        """Adds what the calls brought to the bytes of their connections. A token is the only header that is long in
        every call."""
        lengths, headers = set(map(len, self.payloads)), {len(event[4] or "") for event in self._events}
        if len(lengths) == len(headers) == 1:
            each = lengths.pop() + headers.pop() + CALL_BYTES
            for peer, count in self.by_peer.items():
                handed[peer] = handed.get(peer, 0) + count * each
            return
        for _, _, _, payload, header, (_, peer, _) in self._events:
            handed[peer] = handed.get(peer, 0) + len(payload) + len(header or "") + CALL_BYTES

    def headers(self, name: str) -> Sequence[str]:
        return [find_header(event[5][0], name) for event in self._events]

    @property
    def principals(self) -> Sequence[str]:
        return [""] * len(self._events) if self._principals is None else self._principals

    @property
    def cancelled(self) -> bool:
        return self._cancelled is not None

    def cancel(self, call_id: int) -> None:
        """Tells that the caller of one call has gone."""
        if self._cancelled is None:
            self._cancelled = set()
        self._cancelled.add(call_id)

    def select(self, places: Sequence[int]) -> NativeBurst:
        principals = None if self._principals is None else [self._principals[place] for place in places]
        events = [self._events[place] for place in places]
        selected = NativeBurst(events, self.arrived_ns, principals, self._front, self._open)
        for call_id in self._cancelled or ():
            if call_id in selected._ids:
                selected.cancel(call_id)
        selected.begin_record = self.begin_record
        return selected

    def calls(self) -> list[Call]:
        gone = self._cancelled or ()
        calls: list[Call] = []
        principals: Iterable[str] = repeat("") if self._principals is None else self._principals
        for (_, call_id, _, payload, _, details), principal in zip(self._events, principals, strict=False):
            metadata, peer, remaining_s = details
            deadline_ns = _deadline_ns(self.arrived_ns, remaining_s)
            call = NativeCall(
                payload, peer, self.arrived_ns, deadline_ns, metadata, principal, self._front, call_id, self._open
            )
            call.cancelled = call_id in gone
            if self.begin_record is not None:
                self.begin_record(call)
            calls.append(call)
        return calls

    def reply(self, payloads: Sequence[bytes]) -> None:
        deque(map(self._open.pop, self._ids, repeat(None)), maxlen=0)
        deque(map(self._front.respond, self._ids, payloads), maxlen=0)


def _deadline_ns(arrived_ns: int, remaining_s: float | None) -> int | None:
    return None if remaining_s is None else arrived_ns + int(remaining_s * 1e9)
