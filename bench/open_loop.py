"""Owns load that does not wait for answers: unary calls at random moments, as a process of its own.

    python -m bench.open_loop --target HOST:PORT --method /package.Service/Method --messages FILE --rate R ...

Latency counts from the moment a call was meant to be sent, so a generator that falls behind does not flatter the
server; how far it fell behind is in the result. At its deadline a call is cancelled, as gRPC's clients do. It writes
one record per call to a file and prints one JSON object, a Summary. SIGTERM ends the load early; the calls in flight
are still waited for. Standard library only, as `load_generator`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import message_file
from bench.http2_connection import GrpcConnection, Outcome, ProtocolError
from bench.http2_frames import Request
from bench.load_generator import LoadError

# Calls are sent and answers read in rounds of at least this length: what each would cost alone, the server would lack.
ROUND_US = 500
CONNECTIONS = 4  # each may have about a thousand calls open
_NEVER = 1 << 62
RECORD_FIELDS = 4  # of an answered call: intended start, latency (both ns), status, number of its message


@dataclass(frozen=True)
class Summary:
    """The run as a whole. `start_ns` is of time.perf_counter_ns; `lag` is how late calls were sent."""

    start_ns: int
    calls: int
    seconds: float
    lag_p50_us: float
    lag_p99_us: float
    lag_max_us: float
    generator_cpu_us_per_call: float


def poisson(calls_per_second: float, seconds: float, seed: int) -> Iterator[int]:
    """Moments of arrival in nanoseconds from the start, in order, all before `seconds`. The same seed gives the same.

    The gaps between arrivals are independent and exponentially distributed, so arrivals come in bursts as those of
    callers do who do not know of each other, and no answer of the server's delays the next one.
    """
    gap = random.Random(seed).expovariate
    end_ns = seconds * 1e9
    ns_per_call = 1e9 / calls_per_second
    moment = gap(1.0) * ns_per_call
    while moment < end_ns:
        yield int(moment)
        moment += gap(1.0) * ns_per_call


class OpenLoop:
    """Sends requests, in turn, at given moments."""

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[Request],
        timeout_s: float,
        connections: int = CONNECTIONS,
        *,
        round_us: int = ROUND_US,
        answers: bool = False,
    ) -> None:
        """Connects. Raises LoadError where there is no gRPC server."""
        self._round_s = round_us / 1e6
        self._address = (host, port)
        self._requests = itertools.cycle(requests)
        self._timeout_ns = int(timeout_s * 1e9)
        self._keep_answers = answers
        self._connections: list[GrpcConnection] = []
        self._turn = 0
        self.stopping = False
        self.records = array("q")  # RECORD_FIELDS per call
        self.answers: list[tuple[int, bytes]] = []
        self._connections = [self._connect() for _ in range(connections)]

    def run(self, arrivals: Iterable[int]) -> Summary:
        """Sends one call at each moment (ns from the start, in order) and waits for all answers, none longer than its
        deadline.

        Raises LoadError where a lost connection cannot be opened again.
        """
        lags_ns = array("q")
        moments = iter(arrivals)
        cpu_start = time.process_time()
        start_ns = time.perf_counter_ns()
        due_ns = start_ns + next(moments, _NEVER)
        while True:
            now_ns = time.perf_counter_ns()
            self._read(now_ns)
            while due_ns <= now_ns and not self.stopping:
                connection = self._next_connection()
                if connection is None:
                    break  # all are full: the calls that wait are sent late, which the lag says
                connection.open_call(next(self._requests), due_ns)
                lags_ns.append(now_ns - due_ns)
                due_ns = start_ns + next(moments, _NEVER)
            in_flight = 0
            for connection in self._connections:
                connection.flush()
                in_flight += connection.in_flight
            if in_flight:
                time.sleep(self._round_s)
            elif self.stopping or due_ns >= _NEVER:
                break
            else:
                time.sleep(max(self._round_s, (due_ns - time.perf_counter_ns()) / 1e9))
        lags_ns = array("q", sorted(lags_ns))
        return Summary(
            start_ns=start_ns,
            calls=len(lags_ns),
            seconds=(time.perf_counter_ns() - start_ns) / 1e9,
            lag_p50_us=_percentile(lags_ns, 50) / 1e3,
            lag_p99_us=_percentile(lags_ns, 99) / 1e3,
            lag_max_us=_percentile(lags_ns, 100) / 1e3,
            generator_cpu_us_per_call=(time.process_time() - cpu_start) * 1e6 / max(len(lags_ns), 1),
        )

    def close(self) -> None:
        """Closes all connections."""
        for connection in self._connections:
            connection.close()

    def _read(self, now_ns: int) -> None:
        for place, connection in enumerate(self._connections):
            self._record(connection.receive())
            self._record(connection.cancel_older(now_ns - self._timeout_ns))
            if connection.retiring and not connection.in_flight and not self.stopping:
                connection.close()
                self._connections[place] = self._connect()

    def _record(self, outcomes: list[Outcome]) -> None:
        records = self.records
        for latency_ns, status, started_ns, number, answer in outcomes:
            records.extend((started_ns, latency_ns, status, number))
            if answer:
                self.answers.append((number, answer))

    def _next_connection(self) -> GrpcConnection | None:
        for _ in self._connections:
            self._turn = (self._turn + 1) % len(self._connections)
            if self._connections[self._turn].can_open:
                return self._connections[self._turn]
        return None

    def _connect(self) -> GrpcConnection:
        try:
            return GrpcConnection(*self._address, statuses=True, answers=self._keep_answers)
        except (OSError, ProtocolError) as error:
            self.close()
            host, port = self._address
            raise LoadError(f"no gRPC connection to {host}:{port}: {error}") from error


def _percentile(ordered: Sequence[int], percent: int) -> float:
    return float(ordered[max(-(-percent * len(ordered) // 100) - 1, 0)]) if ordered else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on. Exit code 1, with a sentence, where it could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.open_loop", description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, help="host:port, plaintext")
    parser.add_argument("--method", required=True, help="/package.Service/Method, unary")
    parser.add_argument("--messages", required=True, type=Path, help="file of length-prefixed gRPC messages")
    parser.add_argument("--records", required=True, type=Path, help="file to write a record per call to")
    parser.add_argument("--rate", required=True, type=float, help="calls per second, on average")
    parser.add_argument("--seconds", required=True, type=float, help="open calls for so long")
    parser.add_argument("--timeout-s", required=True, type=float, help="deadline sent with each call")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of arrival")
    parser.add_argument("--round-us", type=int, default=ROUND_US, help="send and read at most this often")
    parser.add_argument("--answers", type=Path, help="write all answers to this file")
    options = parser.parse_args(arguments)
    arrivals = poisson(options.rate, options.seconds, options.seed)
    host, _, port = options.target.rpartition(":")
    try:
        requests = message_file.read_requests(options.messages, options.target, options.method, options.timeout_s)
        keep = options.answers is not None
        loop = OpenLoop(
            host,
            int(port),
            requests,
            options.timeout_s,
            options.connections,
            round_us=options.round_us,
            answers=keep,
        )
        signal.signal(signal.SIGTERM, lambda *_: setattr(loop, "stopping", True))
        # Real callers are other machines: when they send does not depend on how busy the server is.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        print("started", flush=True)
        summary = loop.run(arrivals)
        loop.close()
        options.records.write_bytes(loop.records.tobytes())
        if keep:
            message_file.write_answers(options.answers, loop.answers)
    except (LoadError, OSError, ValueError) as error:
        print(f"open_loop: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
