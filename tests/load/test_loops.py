"""The ends of the loops: what they say of calls that were due and not sent, or in flight when the server went away."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from tests.load.scripted import ScriptedServer, scripted

from covey_load.loops import ClosedLoop, OpenLoop
from covey_load.pool import LoadError, Pool
from covey_load.wire.connection import Outcome
from covey_load.wire.frames import GOAWAY, SETTINGS, Request, frame
from covey_load.wire.grpc_status import OK, status_name
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.sockets import Endpoint

HOUR_NS = 3_600_000_000_000
IN_FLIGHT = 16


class Outcomes:
    """A loop's sink that keeps all."""

    def __init__(self) -> None:
        self.taken: list[Outcome] = []
        self.begun = threading.Event()  # once there is one

    def take(self, outcomes: list[Outcome]) -> None:
        self.taken += outcomes
        if outcomes:
            self.begun.set()

    def tick(self, now_ns: int) -> None:
        """Nothing is due."""


def connected(target: str, connections: int) -> Pool[Request]:
    host, _, port = target.rpartition(":")
    endpoint = Endpoint(host, int(port))
    return Pool(f"gRPC connection to {target}", lambda: GrpcConnection(endpoint), connections)


def requests(target: str) -> Iterator[Request]:
    return itertools.repeat(Request(target, "/covey.v1.Classifier/Classify", b""))


def test_an_open_loop_counts_the_calls_that_were_due_at_its_end_and_not_sent() -> None:
    with scripted() as server, closing(connected(server.target, 1)) as pool:
        outcomes = Outcomes()
        loop = OpenLoop(pool, outcomes, 10.0, requests(server.target), iter([-2, -1, 0, HOUR_NS]))
        end_ns = time.perf_counter_ns()
        loop.run(end_ns, end_ns)
        assert (outcomes.taken, loop.unsent) == ([], 2)


def test_an_open_loop_that_is_stopped_counts_those_that_were_due_until_then() -> None:
    with scripted() as server, closing(connected(server.target, 1)) as pool:
        outcomes = Outcomes()
        loop = OpenLoop(pool, outcomes, 10.0, requests(server.target), iter([-2, -1, HOUR_NS]))
        loop.stopping = True
        loop.run(time.perf_counter_ns())
        assert (outcomes.taken, loop.unsent) == ([], 2)


def test_an_open_loop_that_sent_all_has_none_left() -> None:
    with scripted() as server, closing(connected(server.target, 1)) as pool:
        outcomes = Outcomes()
        loop = OpenLoop(pool, outcomes, 10.0, requests(server.target), iter([0, 1]))
        now_ns = time.perf_counter_ns()
        loop.run(now_ns, now_ns + HOUR_NS)
        assert (loop.unsent, [outcome.status for outcome in outcomes.taken]) == (0, [OK, OK])


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_each_call_in_flight_has_an_outcome_when_the_server_goes_away(kind: str) -> None:
    """The server answers its first call, holds all others, and hangs up once it has as many as are to be in flight."""
    full = threading.Event()
    outcomes, sent = Outcomes(), list[Request]()

    def counted(row: Iterator[Request]) -> Iterator[Request]:
        for request in row:
            sent.append(request)
            yield request

    def on_call(number: int) -> None:
        if number == IN_FLIGHT - 1:
            full.set()

    def hang_up(server: ScriptedServer) -> None:
        assert full.wait(30)
        assert outcomes.begun.wait(30)  # else the one answer would be lost with the connection
        server.close()

    with scripted(60.0, on_call=on_call) as server, closing(connected(server.target, 4)) as pool:
        closer = threading.Thread(target=hang_up, args=[server])
        closer.start()
        put_load = _closed_loop if kind == "closed" else _open_loop
        with pytest.raises(LoadError, match="no gRPC connection to"):
            put_load(pool, outcomes, counted(requests(server.target)))
        closer.join()
    statuses = Counter(status_name(outcome.status) for outcome in outcomes.taken)
    assert statuses == {"OK": 1, "UNAVAILABLE": len(sent) - 1}
    assert len(sent) > IN_FLIGHT  # more than one above it where a place was connected anew while the server closed


def test_a_closed_loop_ends_though_the_server_ends_each_connection() -> None:
    """A server that drains: it says so on each new connection, with no call taken. The loop is told to stop while it
    connects for the third time; one that does not look comes to the last connection, and fails."""
    loops: list[ClosedLoop[Request]] = []
    has_begun = threading.Event()

    def drain(listener: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):  # that the listener was shut down
            for number in range(50):
                connection = stack.enter_context(listener.accept()[0])
                if number == 2:
                    assert has_begun.wait(30)
                    loops[0].stopping = True
                connection.sendall(frame(SETTINGS, 0, 0) + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
            listener.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        drainer = threading.Thread(target=drain, args=[listener])
        drainer.start()
        with closing(connected(target, 1)) as pool:
            loops.append(ClosedLoop(pool, Outcomes(), 10.0, 1, [requests(target)]))
            has_begun.set()
            loops[0].run(time.perf_counter_ns())
        assert drainer.is_alive()  # it has not come to the last
        listener.shutdown(socket.SHUT_RDWR)
        drainer.join()


def _closed_loop(pool: Pool[Request], outcomes: Outcomes, row: Iterator[Request]) -> None:
    ClosedLoop(pool, outcomes, 60.0, IN_FLIGHT, [row] * 4).run(time.perf_counter_ns())


def _open_loop(pool: Pool[Request], outcomes: Outcomes, row: Iterator[Request]) -> None:
    OpenLoop(pool, outcomes, 60.0, row, iter([0] * (IN_FLIGHT + 1) + [HOUR_NS])).run(time.perf_counter_ns())
