"""Owns one run: sends cases to a server over several connections, many in flight on each, and judges what comes back.

Knows addresses, not processes: who starts the server, watches its memory and reads its log is the caller.
"""

from __future__ import annotations

import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from tests.fuzz import headers, infer_cases
from tests.fuzz.case import Case

from covey_load.wire.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Request, frame, frame_header
from covey_load.wire.grpc_status import NAMES, NO_STATUS, OK
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.outcome import Outcome, ProtocolError
from covey_load.wire.sockets import Endpoint
from covey_proto.v1 import classifier_pb2 as pb

SILENCE_LIMIT_S = 30.0
PATIENCE_S = 2.0  # with a case that may cost its connection: grpcio leaves some unanswered and the connection open
DROP_EVERY = 4001  # cases after which a connection is closed with its calls in flight, as callers' machines do


class RawRequest(Request):
    """A case as the connection sends it. Not built by Request, which only makes requests in order."""

    def __init__(self, case: Case) -> None:
        block = headers.block(case.headers)
        self.number = case.number
        self.body = case.body
        self.headers_start = frame(HEADERS, END_HEADERS, 0, block)[:5]
        self.headers_end = block
        self.body_start = block + frame_header.pack(len(case.body) << 8 | DATA, END_STREAM, 0)[:5]


@dataclass(frozen=True)
class Finding:
    """Something that must not be. `suspects` are the cases that may have done it."""

    what: str
    suspects: tuple[Case, ...]


@dataclass
class Tally:
    """What came of a run."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)  # by kind of case and name of status
    images: Counter[str] = field(default_factory=Counter)  # in answers: classified, invalid, too large
    findings: list[Finding] = field(default_factory=list)
    slowest: list[tuple[float, int]] = field(default_factory=list)  # seconds and number, the slowest first
    done: int = 0
    standstill_s: float = 0.0  # the longest time in which the campaign itself did not get to run

    def total(self, status: str) -> int:
        return sum(count for (_, name), count in self.statuses.items() if name == status)


class _Lane:
    """A connection and the cases that are on their way over it."""

    def __init__(self, share: int) -> None:
        self.share = share
        self.connection: GrpcConnection | None = None
        self.on_the_way: dict[int, Case] = {}
        self.sent = 0
        self.last_sent = 0.0


class Campaign:
    """Sends cases and judges answers. Cases that may cost their connection go one by one, over lanes of their own."""

    def __init__(
        self, host: str, port: int, connections: int = 6, in_flight: int = 16, progress: Callable[[int], object] = id
    ) -> None:
        """`in_flight` on each connection. `progress` is told how many cases are done, some times a second."""
        self._endpoint = Endpoint(host, port)
        self._lanes = [_Lane(in_flight) for _ in range(connections)]
        self._lonely = [_Lane(1) for _ in range(connections)]
        self._waiting_alone: deque[Case] = deque()
        self._selector = selectors.DefaultSelector()
        self._progress = progress
        self.tally = Tally()

    def run(self, cases: Iterable[Case]) -> Tally:
        """Sends all cases and waits for what comes of each. Ends early where the server is gone or silent."""
        source = iter(cases)
        exhausted = False
        heard = last = time.monotonic()
        try:
            while not exhausted or self._waiting_alone or self._on_the_way():
                for lane in self._lanes:
                    exhausted = self._fill(lane, source) or exhausted
                for lane in self._lonely:
                    if lane.on_the_way and time.monotonic() - lane.last_sent > PATIENCE_S:
                        self._abandon(lane, "silence")
                    self._fill(lane, self._take_alone())
                before = time.monotonic()
                self.tally.standstill_s = max(self.tally.standstill_s, before - last)
                events = self._selector.select(timeout=1.0)
                last = time.monotonic()
                self.tally.standstill_s = max(self.tally.standstill_s, last - before - 1.0)
                for key, _ in events:
                    if self._hear(key.data):
                        heard = time.monotonic()
                self._progress(self.tally.done)
                if time.monotonic() - heard > SILENCE_LIMIT_S:
                    self._find(f"no answer within {SILENCE_LIMIT_S:.0f} s", *self._on_the_way())
                    break
        except (OSError, ProtocolError) as error:
            self._find(f"no connection to the server any more: {error}", *self._on_the_way())
        finally:
            for lane in (*self._lanes, *self._lonely):
                if lane.connection is not None:
                    lane.connection.close()
            self._selector.close()
        return self.tally

    def _on_the_way(self) -> list[Case]:
        return [case for lane in (*self._lanes, *self._lonely) for case in lane.on_the_way.values()]

    def _take_alone(self) -> Iterator[Case]:
        while self._waiting_alone:
            yield self._waiting_alone.popleft()

    def _fill(self, lane: _Lane, source: Iterator[Case]) -> bool:
        """Opens calls while there is room; whether the source has run dry."""
        if lane.connection is not None and lane.connection.retiring and not lane.on_the_way:
            self._drop(lane)
        while len(lane.on_the_way) < lane.share:
            if lane.connection is not None and not lane.connection.can_open:
                break
            case = next(source, None)
            if case is None:
                self._flush(lane)
                return True
            if case.alone and lane not in self._lonely:
                self._waiting_alone.append(case)
                continue
            if lane.connection is None:
                lane.connection = GrpcConnection(self._endpoint, statuses=True, answers=True)
                self._selector.register(lane.connection.socket, selectors.EVENT_READ, lane)
            lane.on_the_way[case.number] = case
            lane.connection.open_call(RawRequest(case))
            lane.sent += 1
            lane.last_sent = time.monotonic()
            if lane.sent % DROP_EVERY == 0:
                self._flush(lane)
                self._abandon(lane, "abandoned")
        self._flush(lane)
        return False

    def _flush(self, lane: _Lane) -> None:
        connection = lane.connection
        if connection is None:
            return
        connection.flush()
        if connection.socket.fileno() >= 0:
            writing = selectors.EVENT_WRITE if connection.has_outgoing else 0
            self._selector.modify(connection.socket, selectors.EVENT_READ | writing, lane)

    def _abandon(self, lane: _Lane, outcome: str) -> None:
        """Closes a connection with its calls in flight."""
        for case in lane.on_the_way.values():
            self._count(case, outcome)
        lane.on_the_way.clear()
        self._drop(lane)

    def _drop(self, lane: _Lane) -> None:
        assert lane.connection is not None
        self._selector.unregister(lane.connection.socket)
        lane.connection.close()
        lane.connection = None

    def _hear(self, lane: _Lane) -> bool:
        """Reads what has come; whether a call ended by it."""
        if lane.connection is None:  # abandoned since the selector named it
            return False
        outcomes = lane.connection.receive()
        lost = lane.connection.retiring and len(outcomes) > 1 and all(each.status == NO_STATUS for each in outcomes)
        if lost and lane not in self._lonely:
            self._find("the connection was lost", *lane.on_the_way.values())
        for outcome in outcomes:
            case = lane.on_the_way.pop(outcome.number)
            self._count(case, NAMES.get(outcome.status, str(outcome.status)))
            self._judge(case, outcome, lost)
        return bool(outcomes)

    def _count(self, case: Case, status: str) -> None:
        self.tally.statuses[case.kind, status] += 1
        self.tally.done += 1

    def _judge(self, case: Case, outcome: Outcome, lost: bool) -> None:
        slowest = self.tally.slowest
        slowest.append(((outcome.ended_ns - outcome.due_ns) / 1e9, case.number))
        if len(slowest) > 100:
            slowest.sort(reverse=True)
            del slowest[3:]
        if outcome.status not in case.allowed and not lost:
            self._find(f"answered {NAMES.get(outcome.status, outcome.status)}", case)
        if outcome.status == OK and case.path.endswith("/Classify"):
            self._judge_answer(case, outcome.answer)
        if outcome.status == OK and case.kind == "infer right":
            self._expect(case, infer_cases.best_classes(outcome.answer[5:]))

    def _judge_answer(self, case: Case, answer: bytes) -> None:
        try:
            response = pb.ClassifyResponse.FromString(answer[5:])
        except DecodeError:
            self._find("answered OK with what is no ClassifyResponse", case)
            return
        for result in response.results:
            reason = pb.ImageError.Reason.Name(result.error.reason) if result.HasField("error") else "classified"
            self.tally.images[reason.removeprefix("REASON_").lower()] += 1
        found = tuple(result.classes[0].index if result.classes else -1 for result in response.results)
        self._expect(case, found)

    def _expect(self, case: Case, found: tuple[int, ...]) -> None:
        if case.expected and found != case.expected:
            self._find(f"answered classes {found}, expected {case.expected}", case)

    def _find(self, what: str, *suspects: Case) -> None:
        self.tally.findings.append(Finding(what, suspects))
