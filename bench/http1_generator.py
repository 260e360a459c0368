"""Owns a closed loop of HTTP/1.1 requests, one in flight on each of N kept-alive connections, as a process of its own.

    python -m bench.http1_generator --target HOST:PORT --path /inference --messages FILE --seconds S --in-flight N

For servers that speak no gRPC, as cheap as `load_generator` is for those that do, and with the same result: one JSON
object, a LoadResult.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from bench import message_file
from bench.load_generator import SILENCE_LIMIT_S, Account, LoadResult
from covey_load.loops import ClosedLoop
from covey_load.pool import LoadError, Pool
from covey_load.wire.http1 import HttpConnection, HttpRequest
from covey_load.wire.sockets import Endpoint


class HttpLoop:
    """Keeps one request in flight on each of `in_flight` connections."""

    def __init__(self, endpoint: Endpoint, path: str, bodies: Sequence[bytes], in_flight: int) -> None:
        """Connects. Raises LoadError where nobody listens."""
        row = itertools.cycle([HttpRequest(endpoint.authority, path, body) for body in bodies])
        self._account = Account(in_flight)
        self._pool = Pool(f"HTTP connection to {endpoint.authority}", lambda: HttpConnection(endpoint), in_flight)
        self._loop = ClosedLoop(self._pool, self._account, SILENCE_LIMIT_S, in_flight, [row] * in_flight)

    def run(self, seconds: float) -> LoadResult:
        """Sends requests for so long, and waits for all answers. An answer other than 200 is a failure.

        Raises LoadError where a lost connection could not be opened again.
        """
        cpu_start, start_ns = time.process_time(), time.perf_counter_ns()
        self._loop.run(start_ns + int(seconds * 1e9))
        elapsed_s = (time.perf_counter_ns() - start_ns) / 1e9
        return self._account.result(elapsed_s, time.process_time() - cpu_start)

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on and prints what came of it. Exit code 1, with a sentence, where it could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.http1_generator", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--path", required=True)
    parser.add_argument("--messages", required=True, type=Path, help="file of length-prefixed bodies")
    parser.add_argument("--seconds", required=True, type=float)
    parser.add_argument("--in-flight", type=int, default=1)
    options = parser.parse_args(arguments)
    host, _, port = options.target.rpartition(":")
    try:
        bodies = message_file.read(options.messages)
        with closing(HttpLoop(Endpoint(host, int(port)), options.path, bodies, options.in_flight)) as loop:
            result = loop.run(options.seconds)
    except (LoadError, OSError, ValueError) as error:
        print(f"http1_generator: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
