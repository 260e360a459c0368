"""Owns the load: a closed loop of N unary calls in flight, as a process of its own.

    python -m bench.load_generator --target HOST:PORT --method /package.Service/Method --messages FILE ...

It prints one JSON object, a LoadResult. FILE holds one or more gRPC messages as they go on the wire, each
behind its flag and length; they are sent in turn. A closed loop starts a call when one ends, so it finds
what a server can do, and its latencies are those of N patient callers; overload is `open_loop`'s. It knows no
protobuf and imports only the standard library: it shares the machine with the server, so what it costs
itself is in the result.
"""

import argparse
import itertools
import json
import math
import selectors
import sys
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from bench import message_file
from bench.grpc_status import NAMES, OK
from bench.http2_connection import GrpcConnection, ProtocolError
from bench.http2_frames import Request

# With no answer to any call for so long, the server is given up on.
SILENCE_LIMIT_S = 30.0


class LoadError(Exception):
    """The load could not be put on the server."""


@dataclass(frozen=True)
class LoadResult:
    """What came of the load. Latencies: of successful calls, from queueing to reading the trailers.

    `failures_by_status` names gRPC codes, where they were asked for; `calls_by_connection` is in their order.
    """

    calls: int
    failures: int
    seconds: float
    calls_per_second: float
    latency_p50_us: float
    latency_p90_us: float
    latency_p99_us: float
    latency_max_us: float
    generator_cpu_us_per_call: float
    failures_by_status: Mapping[str, int] = field(default_factory=dict)
    calls_by_connection: Sequence[int] = ()

    @classmethod
    def of(
        cls,
        latencies_ns: Sequence[int],
        failures: Mapping[str, int],
        seconds: float,
        cpu_seconds: float,
        calls_by_connection: Sequence[int] = (),
    ) -> Self:
        """Sums up one run. Percentiles are of the nearest rank, 0 where no call succeeded."""
        ordered = sorted(latencies_ns)

        def percentile_us(percent: int) -> float:
            return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)] / 1000 if ordered else 0.0

        calls = len(ordered) + sum(failures.values())
        return cls(
            calls=calls,
            failures=sum(failures.values()),
            seconds=seconds,
            calls_per_second=calls / seconds,
            latency_p50_us=percentile_us(50),
            latency_p90_us=percentile_us(90),
            latency_p99_us=percentile_us(99),
            latency_max_us=percentile_us(100),
            generator_cpu_us_per_call=cpu_seconds * 1e6 / max(calls, 1),
            failures_by_status=dict(failures),
            calls_by_connection=list(calls_by_connection),
        )


class LoadGenerator:
    """Keeps `in_flight` calls open over `connections` connections."""

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[Request],
        in_flight: int = 1,
        connections: int = 1,
        first_stream_id: int = 1,
        *,
        apart: bool = False,
        statuses: bool = False,
        answers: bool = False,
    ) -> None:
        """Connects.

        All connections take their requests from one row, in turn; with `apart` each has the next one of the row for
        itself, again and again: loops that do not wait for each other. `statuses` and `answers` are those of
        GrpcConnection. `first_stream_id` (odd) is where each connection begins to count; ids run out at 2**31, and then
        the connection is replaced by a new one.

        Raises:
            LoadError: there is no gRPC server, or it allows fewer calls per connection than asked for.
        """
        self._address = (host, port)
        self._statuses, self._keep_answers = statuses, answers
        row = itertools.cycle(requests)
        self._rows = [itertools.repeat(next(row)) if apart else row for _ in range(connections)]
        self._calls = [0] * connections
        self._places: dict[GrpcConnection, int] = {}  # whose row and count are a connection's
        self.answers: list[tuple[int, bytes]] = []  # number of the request, and the message with its prefix
        self._selector = selectors.DefaultSelector()
        self._shares: dict[GrpcConnection, int] = {}  # calls in flight on each
        self._blocked: set[GrpcConnection] = set()  # those whose socket took less than was to be sent
        try:
            for index in range(connections):
                share = in_flight // connections + (index < in_flight % connections)
                allowed = self._connect(share, index, first_stream_id).max_concurrent_calls
                if allowed < share:
                    raise LoadError(
                        f"{in_flight} calls over {connections} connections are {share} on each, but the server "
                        f"allows {allowed}: use more connections"
                    )
        except LoadError:
            self.close()
            raise

    def run(self, seconds: float | None = None, calls: int | None = None) -> LoadResult:
        """Calls for so many seconds, or exactly so many calls, whichever ends first; waits for all answers.

        Raises:
            LoadError: no call was answered within 30 s, or a lost connection could not be opened again.
        """
        latencies_ns = array("q")
        opened = ended = 0
        failures: Counter[str] = Counter()
        limit = sys.maxsize if calls is None else calls
        cpu_start = time.process_time()
        start = now = last_outcome = time.perf_counter()
        end = start + (seconds if seconds is not None else float("inf"))
        ready = list(self._shares)
        while True:
            for connection in ready:
                place = self._places[connection]
                outcomes = connection.receive()
                if outcomes:
                    last_outcome = now
                    ended += len(outcomes)
                    self._calls[place] += len(outcomes)
                for latency_ns, status, _, number, answer in outcomes:
                    if status == OK:
                        latencies_ns.append(latency_ns)
                        if answer:
                            self.answers.append((number, answer))
                    else:
                        failures[NAMES[status]] += 1
                if now < end:
                    share, row = self._shares[connection], self._rows[place]
                    while opened < limit and connection.in_flight < share and connection.can_open:
                        connection.open_call(next(row))
                        opened += 1
                connection.flush()
                self._watch(connection)
                if connection.retiring and not connection.in_flight:
                    share = self._drop(connection)
                    if now < end and opened < limit:
                        ready.append(self._connect(share, place))
            if ended == opened and (now >= end or opened >= limit):
                break
            ready = [key.data for key, _ in self._selector.select(timeout=1.0)]
            now = time.perf_counter()
            if now - last_outcome > SILENCE_LIMIT_S:
                raise LoadError(f"none of the calls in flight was answered within {SILENCE_LIMIT_S:.0f} s")
        elapsed = time.perf_counter() - start
        cpu = time.process_time() - cpu_start
        return LoadResult.of(latencies_ns, failures, elapsed, cpu, self._calls)

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._shares:
            connection.close()
        self._shares.clear()
        self._selector.close()

    def _connect(self, share: int, place: int, first_stream_id: int = 1) -> GrpcConnection:
        try:
            connection = GrpcConnection(
                *self._address, first_stream_id, statuses=self._statuses, answers=self._keep_answers
            )
        except (OSError, ProtocolError) as error:
            host, port = self._address
            raise LoadError(f"no gRPC connection to {host}:{port}: {error}") from error
        self._shares[connection] = share
        self._places[connection] = place
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _drop(self, connection: GrpcConnection) -> int:
        self._selector.unregister(connection.socket)
        self._blocked.discard(connection)
        connection.close()
        del self._places[connection]
        return self._shares.pop(connection)

    def _watch(self, connection: GrpcConnection) -> None:
        """Waits for room to send only where the last flush found too little."""
        if connection.has_outgoing == (connection in self._blocked):
            return
        if connection.has_outgoing:
            self._blocked.add(connection)
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        else:
            self._blocked.discard(connection)
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on and prints what came of it. Exit code 1, with a sentence, where it could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_generator", description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, help="host:port, plaintext")
    parser.add_argument("--method", required=True, help="/package.Service/Method, unary")
    parser.add_argument("--messages", required=True, type=Path, help="file of length-prefixed gRPC messages")
    parser.add_argument("--seconds", type=float, help="open calls for so long")
    parser.add_argument("--calls", type=int, help="open exactly so many calls")
    parser.add_argument("--in-flight", type=int, default=1, help="calls open at any time")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, help="deadline sent with each call")
    parser.add_argument("--apart", action="store_true", help="connection i sends only message i, again and again")
    parser.add_argument("--statuses", action="store_true", help="count failures by their code")
    parser.add_argument("--answers", type=Path, help="write all answers to this file")
    options = parser.parse_args(arguments)
    if options.seconds is None and options.calls is None:
        parser.error("say when to stop: --seconds or --calls")
    host, _, port = options.target.rpartition(":")
    try:
        requests = message_file.read_requests(options.messages, options.target, options.method, options.timeout_s)
        with closing(
            LoadGenerator(
                host,
                int(port),
                requests,
                options.in_flight,
                options.connections,
                apart=options.apart,
                statuses=options.statuses,
                answers=options.answers is not None,
            )
        ) as generator:
            result = generator.run(options.seconds, options.calls)
        if options.answers is not None:
            message_file.write_answers(options.answers, generator.answers)
    except (LoadError, OSError, ValueError) as error:
        print(f"load_generator: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
