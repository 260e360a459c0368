"""Owns load that does not wait for answers: unary calls at random moments, as a process of its own.

    python -m bench.open_loop --target HOST:PORT --method /package.Service/Method --messages FILE --rate R ...

Latency counts from the moment a call was meant to be sent, so a generator that falls behind does not flatter the
server; how far it fell behind is in the result. At its deadline a call is cancelled, as gRPC's clients do. It writes
one record per call to a file and prints one JSON object, a Summary. SIGTERM ends the load early; the calls in flight
are still waited for. The loop and the wire are covey_load's.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import message_file
from covey_load import schedule
from covey_load.loops import OpenLoop
from covey_load.pool import LoadError, Pool
from covey_load.wire.frames import Request
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.outcome import Outcome
from covey_load.wire.sockets import Endpoint

# Calls are sent and answers read in rounds of at least this length: what each would cost alone, the server would lack.
ROUND_US = 500
CONNECTIONS = 4  # each may have about a thousand calls open
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


class Records:
    """One row of RECORD_FIELDS per call, in the order of their ends, and how late they were sent."""

    def __init__(self) -> None:
        self.rows = array("q")
        self.lags_ns = array("q")
        self.answers: list[tuple[int, bytes]] = []

    def take(self, place: int, outcomes: list[Outcome]) -> None:
        rows, lags_ns = self.rows, self.lags_ns
        for number, due_ns, sent_ns, ended_ns, status, answer in outcomes:
            rows.extend((due_ns, ended_ns - due_ns, status, number))
            lags_ns.append(sent_ns - due_ns)
            if answer:
                self.answers.append((number, answer))

    def tick(self, now_ns: int) -> None:
        """Nothing is due."""


class OpenLoadGenerator:
    """Sends requests, in turn, at given moments: covey_load's open loop, and its accounts."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Sequence[Request],
        timeout_s: float,
        connections: int = CONNECTIONS,
        *,
        round_us: int = ROUND_US,
        answers: bool = False,
    ) -> None:
        """Connects. Raises LoadError where there is no gRPC server."""
        self.records = Records()
        self._pool = Pool(
            f"gRPC connection to {endpoint.authority}",
            lambda: GrpcConnection(endpoint, statuses=True, answers=answers),
            connections,
        )
        self._loop = OpenLoop(self._pool, self.records, timeout_s, itertools.cycle(requests), round_us)

    def run(self, arrivals: Iterable[int]) -> Summary:
        """Sends one call at each moment (ns from the start, in order) and waits for all answers, none longer than its
        deadline.

        Raises LoadError where a lost connection cannot be opened again.
        """
        cpu_start, start_ns = time.process_time(), time.perf_counter_ns()
        self._loop.run(start_ns + moment for moment in arrivals)
        seconds = (time.perf_counter_ns() - start_ns) / 1e9
        lags_ns = sorted(self.records.lags_ns)
        return Summary(
            start_ns=start_ns,
            calls=len(lags_ns),
            seconds=seconds,
            lag_p50_us=_percentile(lags_ns, 50) / 1e3,
            lag_p99_us=_percentile(lags_ns, 99) / 1e3,
            lag_max_us=_percentile(lags_ns, 100) / 1e3,
            generator_cpu_us_per_call=(time.process_time() - cpu_start) * 1e6 / max(len(lags_ns), 1),
        )

    def stop(self) -> None:
        """Sends no more calls; those in flight are still waited for."""
        self._loop.stopping = True

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()


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
    arrivals = schedule.poisson(options.rate, options.seconds, options.seed)
    host, _, port = options.target.rpartition(":")
    try:
        requests = message_file.read_requests(options.messages, options.target, options.method, options.timeout_s)
        keep = options.answers is not None
        load = OpenLoadGenerator(
            Endpoint(host, int(port)),
            requests,
            options.timeout_s,
            options.connections,
            round_us=options.round_us,
            answers=keep,
        )
        signal.signal(signal.SIGTERM, lambda *_: load.stop())
        # Real callers are other machines: when they send does not depend on how busy the server is.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        print("started", flush=True)
        summary = load.run(arrivals)
        load.close()
        options.records.write_bytes(load.records.rows.tobytes())
        if keep:
            message_file.write_answers(options.answers, load.records.answers)
    except (LoadError, OSError, ValueError) as error:
        print(f"open_loop: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
