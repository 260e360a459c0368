"""Decides when calls are sent. The closed loop opens a call when one ends, the open loop at moments fixed beforehand.
Outcomes go to a sink.

Loops know no protocol. A call is given up at its deadline, which counts from the moment it was meant to be sent.
"""

from __future__ import annotations

import itertools
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol

from covey_load.pool import LoadError, Pool
from covey_load.wire.connection import Outcome, RequestT
from covey_load.wire.grpc_status import NO_STATUS

NEVER_NS = 1 << 62
_CHECKS_PER_DEADLINE = 20
_MIN_WAIT_S, _MAX_WAIT_S = 0.001, 0.1
_MAX_AT_ONCE = 256  # calls opened before answers are read again
_MAX_COUNTED = 1_000_000  # calls that were due and not opened: more say no more, and counting takes time


class Sink(Protocol):
    """Takes the outcomes of a loop."""

    def take(self, outcomes: list[Outcome]) -> None:
        """Takes calls that ended."""

    def tick(self, now_ns: int) -> None:
        """Is called at least ten times a second."""


class Loop(ABC, Generic[RequestT]):
    """What both loops share: the connections, the deadline, and the end."""

    was_full = False  # a call had to wait since no connection could take it
    unsent = 0  # calls that were due and not opened when the load ended; counted up to a million

    def __init__(self, pool: Pool[RequestT], sink: Sink, timeout_s: float) -> None:
        self.stopping = False  # set from outside: opens no more calls
        self._pool = pool
        self._sink = sink
        self._timeout_ns = int(timeout_s * 1e9)
        self._longest_wait_s = min(max(timeout_s / _CHECKS_PER_DEADLINE, _MIN_WAIT_S), _MAX_WAIT_S)
        self._check_ns = 0
        self._checked_ns = NEVER_NS
        self.standstill_ns = 0  # the longest time in which the loop did not get to run, connecting anew left out

    @abstractmethod
    def run(self, begin_ns: int, end_ns: int = NEVER_NS) -> None:
        """Opens calls from one moment to the other (of time.perf_counter_ns), and waits for all answers.

        Raises LoadError where a lost connection could not be opened again.
        """

    def _read(self, place: int) -> int:
        """Reads a connection; returns how many calls ended by it."""
        outcomes = self._pool.connections[place].receive()
        if outcomes:
            self._sink.take(outcomes)
        return len(outcomes)

    def _replace(self, place: int) -> None:
        """Replaces a connection by a new one. Where that fails the load is over: what came is read, all other calls in
        flight are lost, and LoadError is raised."""
        try:
            self._pool.replace(place)
        except LoadError:
            for index, connection in enumerate(self._pool.connections):
                while connection.in_flight and self._read(index):
                    pass
                if lost := connection.cancel_older(NEVER_NS):
                    self._sink.take([outcome._replace(status=NO_STATUS) for outcome in lost])
            raise
        self._checked_ns = time.perf_counter_ns()  # to connect blocks, for as long as the server takes

    def _check_deadlines(self, now_ns: int) -> int:
        """Ends the calls whose deadline has passed; returns how many. Checks some twenty times per deadline."""
        if now_ns < self._check_ns:
            return 0
        self.standstill_ns = max(self.standstill_ns, now_ns - self._checked_ns)
        self._checked_ns = now_ns
        self._check_ns = now_ns + int(self._longest_wait_s * 1e9)
        self._sink.tick(now_ns)
        ended = 0
        for connection in self._pool.connections:
            if connection.in_flight and (outcomes := connection.cancel_older(now_ns - self._timeout_ns)):
                self._sink.take(outcomes)
                ended += len(outcomes)
        return ended


class ClosedLoop(Loop[RequestT]):
    """Keeps a number of calls in flight."""

    def __init__(
        self,
        pool: Pool[RequestT],
        sink: Sink,
        timeout_s: float,
        in_flight: int,
        rows: Sequence[Iterator[RequestT]],
        calls: int | None = None,
    ) -> None:
        """`rows` are the requests of each connection; they may all be one and the same iterator. `calls`: opens so
        many at the most.

        Raises LoadError where the server allows fewer calls per connection than that.
        """
        super().__init__(pool, sink, timeout_s)
        self._rows = rows
        self._limit = sys.maxsize if calls is None else calls
        count = len(pool.connections)
        self._shares = [in_flight // count + (place < in_flight % count) for place in range(count)]
        for share, connection in zip(self._shares, pool.connections, strict=True):
            if connection.max_concurrent_calls < share:
                raise LoadError(
                    f"{in_flight} calls over {count} connections are {share} on each, but the server "
                    f"allows {connection.max_concurrent_calls}: use more connections"
                )

    def run(self, begin_ns: int, end_ns: int = NEVER_NS) -> None:
        pool, limit = self._pool, self._limit
        opened = ended = 0
        ready = list(range(len(pool.connections)))
        now_ns = time.perf_counter_ns()
        while True:
            opening = now_ns < end_ns and not self.stopping
            retired = []
            for place in ready:
                connection = pool.connections[place]
                ended += self._read(place)
                if opening:
                    share, row = self._shares[place], self._rows[place]
                    while opened < limit and connection.in_flight < share and connection.can_open:
                        connection.open_call(next(row), now_ns)
                        opened += 1
                pool.flush(place)
                if connection.retiring and not connection.in_flight and opening and opened < limit:
                    retired.append(place)
            ended += (late := self._check_deadlines(now_ns))
            if ended == opened and (not opening or opened >= limit):
                return
            for place in retired:  # once a turn: a server that ends them all must not keep the loop from its end
                self._replace(place)
            if late:
                ready = list(range(len(pool.connections)))
            else:
                ready = [*retired, *pool.ready(0.0 if retired else self._longest_wait_s)]
            now_ns = time.perf_counter_ns()


class OpenLoop(Loop[RequestT]):
    """Opens calls at given moments, on its connections in turn."""

    def __init__(
        self,
        pool: Pool[RequestT],
        sink: Sink,
        timeout_s: float,
        row: Iterator[RequestT],
        moments: Iterator[int],
        round_us: int = 0,
    ) -> None:
        """`moments` are nanoseconds from the begin, in order. Late calls are opened as soon as possible.

        `round_us` makes it send and read at most so often, which costs less and adds as much to each latency.
        """
        super().__init__(pool, sink, timeout_s)
        self._row = row
        self._round_s = round_us / 1e6
        self._everywhere = list(range(len(pool.connections)))
        self._turn = 0
        self._moments = moments
        self._due_ns = NEVER_NS

    def run(self, begin_ns: int, end_ns: int = NEVER_NS) -> None:
        self._moments = moments = (begin_ns + moment for moment in self._moments)
        self._due_ns = next(moments, NEVER_NS)
        unsent: Iterator[int] = iter(())
        ready: list[int] = []
        while True:
            now_ns = time.perf_counter_ns()
            if self._due_ns != NEVER_NS and (self.stopping or now_ns >= end_ns):
                unsent = _before(min(now_ns, end_ns), itertools.chain([self._due_ns], moments))
                self._due_ns = NEVER_NS
            places = self._receive(ready, now_ns)
            is_full = not self._open_due(now_ns, places)
            for place in places:
                self._pool.flush(place)
            in_flight = any(connection.in_flight for connection in self._pool.connections)
            if self._due_ns == NEVER_NS and not in_flight:
                self.unsent = sum(1 for _ in itertools.islice(unsent, _MAX_COUNTED))  # now that no answer waits
                return
            ready = self._wait(is_full=is_full, in_flight=in_flight)

    def _receive(self, ready: list[int], now_ns: int) -> set[int]:
        """Reads what has come and replaces retired connections. Returns the places of both."""
        for place in ready:
            self._read(place)
        places = set(self._everywhere if self._check_deadlines(now_ns) else ready)
        for place in places:
            connection = self._pool.connections[place]
            if connection.retiring and not connection.in_flight and self._due_ns != NEVER_NS:
                self._replace(place)
        return places

    def _open_due(self, now_ns: int, opened_on: set[int]) -> bool:
        """Opens the calls that are due and adds their connections' places to `opened_on`; false where no connection
        could take one."""
        for _ in range(_MAX_AT_ONCE):
            if self._due_ns > now_ns:
                break
            place = self._next_place()
            if place < 0:
                self.was_full = True
                return False
            self._pool.connections[place].open_call(next(self._row), self._due_ns)
            opened_on.add(place)
            self._due_ns = next(self._moments, NEVER_NS)
        return True

    def _wait(self, *, is_full: bool, in_flight: bool) -> list[int]:
        """Waits until the next call is due or something has come; where all connections are full, a call has to end
        first. Returns the places to read from."""
        until_due_s = self._longest_wait_s if is_full else (self._due_ns - time.perf_counter_ns()) / 1e9
        wait_s = min(max(until_due_s, 0.0), self._longest_wait_s)
        if not self._round_s:
            return self._pool.ready(wait_s)
        time.sleep(self._round_s if in_flight else max(self._round_s, wait_s))
        return self._everywhere

    def _next_place(self) -> int:
        """The next connection that can take a call; -1 where none can."""
        connections = self._pool.connections
        for _ in connections:
            self._turn = (self._turn + 1) % len(connections)
            if connections[self._turn].can_open:
                return self._turn
        return -1


def _before(end_ns: int, moments: Iterator[int]) -> Iterator[int]:
    return itertools.takewhile(lambda moment: moment < end_ns, moments)
