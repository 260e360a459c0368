"""Owns the load: a closed loop of N unary calls in flight, as a process of its own.

    python -m bench.load_generator --target HOST:PORT --method /package.Service/Method --messages FILE ...

It prints one JSON object, a LoadResult. FILE holds one or more gRPC messages as they go on the wire, each
behind its flag and length; they are sent in turn. A closed loop starts a call when one ends, so it finds
what a server can do, and its latencies are those of N patient callers; overload is `open_loop`'s. It knows no
protobuf: it shares the machine with the server, so what it costs itself is in the result. The loop and the wire are
covey_load's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
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
from covey.security import TLS, Access, TokenFile
from covey_load.loops import NEVER_NS, ClosedLoop
from covey_load.pool import LoadError, Pool
from covey_load.wire.frames import Request
from covey_load.wire.grpc_status import NAMES, OK
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.outcome import Outcome
from covey_load.wire.sockets import Endpoint

# A call without an answer for so long has failed, where no shorter deadline is given.
SILENCE_LIMIT_S = 30.0


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


class Account:
    """What a closed loop's calls came to."""

    def __init__(self, connections: int) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self._latencies_ns = array("q")
        self._failures: Counter[str] = Counter()
        self._calls = [0] * connections

    def take(self, place: int, outcomes: list[Outcome]) -> None:
        self._calls[place] += len(outcomes)
        for number, _, sent_ns, ended_ns, status, answer in outcomes:
            if status == OK:
                self._latencies_ns.append(ended_ns - sent_ns)
                if answer:
                    self.answers.append((number, answer))
            else:
                self._failures[NAMES.get(status, str(status))] += 1

    def tick(self, now_ns: int) -> None:
        """Nothing is due."""

    def result(self, seconds: float, cpu_seconds: float) -> LoadResult:
        return LoadResult.of(self._latencies_ns, self._failures, seconds, cpu_seconds, self._calls)


class LoadGenerator:
    """Keeps `in_flight` calls open over `connections` connections: covey_load's closed loop, and its accounts."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Sequence[Request],
        in_flight: int = 1,
        connections: int = 1,
        first_stream_id: int = 1,
        *,
        timeout_s: float = SILENCE_LIMIT_S,
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
        row = itertools.cycle(requests)
        rows = [itertools.repeat(next(row)) if apart else row for _ in range(connections)]
        first_ids = itertools.chain(itertools.repeat(first_stream_id, connections), itertools.repeat(1))
        self._account = Account(connections)
        self._pool = Pool(
            f"gRPC connection to {endpoint.authority}",
            lambda: GrpcConnection(endpoint, next(first_ids), statuses=statuses, answers=answers),
            connections,
        )
        try:
            self._loop = ClosedLoop(self._pool, self._account, timeout_s, in_flight, rows)
        except LoadError:
            self.close()
            raise

    @property
    def answers(self) -> list[tuple[int, bytes]]:
        """Number of the request, and the message with its prefix."""
        return self._account.answers

    def run(self, seconds: float | None = None, calls: int | None = None) -> LoadResult:
        """Calls for so many seconds, or exactly so many calls, whichever ends first; waits for all answers.

        Raises:
            LoadError: a lost connection could not be opened again.
        """
        cpu_start, start_ns = time.process_time(), time.perf_counter_ns()
        self._loop.run(NEVER_NS if seconds is None else start_ns + int(seconds * 1e9), calls)
        elapsed_s = (time.perf_counter_ns() - start_ns) / 1e9
        return self._account.result(elapsed_s, time.process_time() - cpu_start)

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on and prints what came of it. Exit code 1, with a sentence, where it could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_generator", description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--ca-certificate", type=Path, help="TLS, to a server whose certificate this authority signed")
    parser.add_argument("--token-file", type=Path, help="file of the token that each call brings")
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
        token = TokenFile(options.token_file) if options.token_file else ""
        access = Access(TLS(options.ca_certificate) if options.ca_certificate else None, token)
        requests = message_file.read_requests(
            options.messages, options.target, options.method, options.timeout_s, access.metadata
        )
        with closing(
            LoadGenerator(
                Endpoint(host, int(port), access.tls),
                requests,
                options.in_flight,
                options.connections,
                timeout_s=options.timeout_s or SILENCE_LIMIT_S,
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
