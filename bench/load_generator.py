"""Owns the load: a closed loop of N unary calls in flight, as a process of its own.

    python -m bench.load_generator --target HOST:PORT --method /package.Service/Method --messages FILE ...

It prints one JSON object, a LoadResult. FILE holds one or more gRPC messages as they go on the wire, each
behind its flag and length; they are sent in turn. A closed loop starts a call when one ends, so it finds
what a server can do, and its latencies are those of N patient callers; it says nothing about overload. It
knows no protobuf and imports only the standard library: it shares the machine with the server, so what it
costs itself is in the result.
"""

import argparse
import itertools
import json
import math
import selectors
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from bench.http2_connection import GrpcConnection, ProtocolError
from bench.http2_frames import Request

# With no answer to any call for so long, the server is given up on.
SILENCE_LIMIT_S = 30.0


class LoadError(Exception):
    """The load could not be put on the server."""


@dataclass(frozen=True)
class LoadResult:
    """What came of the load. Latencies: of successful calls, from queueing to reading the trailers."""

    calls: int
    failures: int
    seconds: float
    calls_per_second: float
    latency_p50_us: float
    latency_p90_us: float
    latency_p99_us: float
    latency_max_us: float
    generator_cpu_us_per_call: float

    @classmethod
    def of(cls, latencies_ns: Sequence[int], failures: int, seconds: float, cpu_seconds: float) -> Self:
        """Sums up one run. Percentiles are of the nearest rank, 0 where no call succeeded."""
        ordered = sorted(latencies_ns)

        def percentile_us(percent: int) -> float:
            return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)] / 1000 if ordered else 0.0

        calls = len(ordered) + failures
        return cls(
            calls=calls,
            failures=failures,
            seconds=seconds,
            calls_per_second=calls / seconds,
            latency_p50_us=percentile_us(50),
            latency_p90_us=percentile_us(90),
            latency_p99_us=percentile_us(99),
            latency_max_us=percentile_us(100),
            generator_cpu_us_per_call=cpu_seconds * 1e6 / max(calls, 1),
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
    ) -> None:
        """Connects.

        `first_stream_id` (odd) is where each connection begins to count; ids run out at 2**31, and then
        the connection is replaced by a new one.

        Raises:
            LoadError: there is no gRPC server, or it allows fewer calls per connection than asked for.
        """
        self._address = (host, port)
        self._requests = itertools.cycle(requests)
        self._selector = selectors.DefaultSelector()
        self._shares: dict[GrpcConnection, int] = {}  # calls in flight on each
        self._blocked: set[GrpcConnection] = set()  # those whose socket took less than was to be sent
        try:
            for index in range(connections):
                share = in_flight // connections + (index < in_flight % connections)
                allowed = self._connect(share, first_stream_id).max_concurrent_calls
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
        opened = failures = 0
        limit = sys.maxsize if calls is None else calls
        cpu_start = time.process_time()
        start = now = last_outcome = time.perf_counter()
        end = start + (seconds if seconds is not None else float("inf"))
        ready = list(self._shares)
        while True:
            for connection in ready:
                for latency_ns, succeeded in connection.receive():
                    last_outcome = now
                    if succeeded:
                        latencies_ns.append(latency_ns)
                    else:
                        failures += 1
                if now < end:
                    share = self._shares[connection]
                    while opened < limit and connection.in_flight < share and connection.can_open:
                        connection.open_call(next(self._requests))
                        opened += 1
                connection.flush()
                self._watch(connection)
                if connection.retiring and not connection.in_flight:
                    share = self._drop(connection)
                    if now < end and opened < limit:
                        ready.append(self._connect(share))
            if len(latencies_ns) + failures == opened and (now >= end or opened >= limit):
                break
            ready = [key.data for key, _ in self._selector.select(timeout=1.0)]
            now = time.perf_counter()
            if now - last_outcome > SILENCE_LIMIT_S:
                raise LoadError(f"none of the calls in flight was answered within {SILENCE_LIMIT_S:.0f} s")
        elapsed = time.perf_counter() - start
        cpu = time.process_time() - cpu_start
        return LoadResult.of(latencies_ns, failures, elapsed, cpu)

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._shares:
            connection.close()
        self._shares.clear()
        self._selector.close()

    def _connect(self, share: int, first_stream_id: int = 1) -> GrpcConnection:
        try:
            connection = GrpcConnection(*self._address, first_stream_id)
        except (OSError, ProtocolError) as error:
            host, port = self._address
            raise LoadError(f"no gRPC connection to {host}:{port}: {error}") from error
        self._shares[connection] = share
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _drop(self, connection: GrpcConnection) -> int:
        self._selector.unregister(connection.socket)
        self._blocked.discard(connection)
        connection.close()
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


def read_messages(octets: bytes) -> list[bytes]:
    """Splits gRPC messages standing one after the other, each behind its flag and length.

    Raises:
        ValueError: there is none, or the last one is incomplete.
    """
    messages: list[bytes] = []
    position = 0
    while position < len(octets):
        start = position + 5
        length = int.from_bytes(octets[position + 1 : start], "big")
        position = start + length
        if start > len(octets) or position > len(octets):
            raise ValueError(f"message {len(messages)} is cut off at byte {len(octets)}")
        messages.append(octets[start:position])
    if not messages:
        raise ValueError("no message")
    return messages


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
    parser.add_argument("--timeout-s", type=int, help="deadline sent with each call")
    options = parser.parse_args(arguments)
    if options.seconds is None and options.calls is None:
        parser.error("say when to stop: --seconds or --calls")
    host, _, port = options.target.rpartition(":")
    try:
        messages = read_messages(options.messages.read_bytes())
        requests = [Request(options.target, options.method, each, options.timeout_s) for each in messages]
        with closing(LoadGenerator(host, int(port), requests, options.in_flight, options.connections)) as generator:
            result = generator.run(options.seconds, options.calls)
    except (LoadError, OSError, ValueError) as error:
        print(f"load_generator: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
