"""Owns a closed loop of HTTP/1.1 requests, one in flight on each of N kept-alive connections, as a process of its own.

    python -m bench.http1_generator --target HOST:PORT --path /inference --messages FILE --seconds S --in-flight N

For servers that speak no gRPC, as cheap as `load_generator` is for those that do, and with the same result: one JSON
object, a LoadResult. Understands just the answers of the servers it is for: a status line, headers with
Content-Length, a body. Standard library only.
"""

import argparse
import itertools
import json
import select
import socket
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from bench import message_file
from bench.load_generator import LoadError, LoadResult

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_RECEIVE_BYTES = 1 << 16
_SILENCE_LIMIT_S = 30.0


class HttpLoop:
    """Keeps one request in flight on each of `in_flight` connections."""

    def __init__(self, host: str, port: int, path: str, bodies: Sequence[bytes], in_flight: int) -> None:
        """Connects. Raises LoadError where nobody listens."""
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: "
        self._requests: Iterator[bytes] = itertools.cycle(
            [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        )
        self._poll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._started_ns: dict[int, int] = {}
        self._partial: dict[int, bytes] = {}
        try:
            for _ in range(in_flight):
                connection = socket.create_connection((host, port), 10)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[connection.fileno()] = connection
                self._poll.register(connection, select.EPOLLIN)
        except OSError as error:
            self.close()
            raise LoadError(f"no HTTP connection to {host}:{port}: {error}") from error

    def run(self, seconds: float) -> LoadResult:
        """Sends requests for so long, and waits for all answers. An answer other than 200 is a failure.

        Raises LoadError where the server closes a connection or is silent for half a minute.
        """
        latencies_ns = array("q")
        failures: Counter[str] = Counter()
        cpu_start = time.process_time()
        start = time.perf_counter()
        end_ns = time.perf_counter_ns() + int(seconds * 1e9)
        for number in self._connections:
            self._send(number)
        while self._started_ns:
            events = self._poll.poll(_SILENCE_LIMIT_S)
            if not events:
                raise LoadError(f"none of the calls in flight was answered within {_SILENCE_LIMIT_S:.0f} s")
            for number, _ in events:
                status = self._receive(number)
                if status is None:
                    continue
                now_ns = time.perf_counter_ns()
                started_ns = self._started_ns.pop(number)
                if status == b"200":
                    latencies_ns.append(now_ns - started_ns)
                else:
                    failures[status.decode("ascii", "replace")] += 1
                if now_ns < end_ns:
                    self._send(number)
        cpu = time.process_time() - cpu_start
        return LoadResult.of(latencies_ns, failures, time.perf_counter() - start, cpu)

    def close(self) -> None:
        """Closes all connections."""
        self._poll.close()
        for connection in self._connections.values():
            connection.close()

    def _send(self, number: int) -> None:
        self._started_ns[number] = time.perf_counter_ns()
        self._connections[number].sendall(next(self._requests))

    def _receive(self, number: int) -> bytes | None:
        """The status code, once an answer is complete."""
        data = self._connections[number].recv(_RECEIVE_BYTES)
        if not data:
            raise LoadError("the server closed a connection")
        if number in self._partial:
            data = self._partial.pop(number) + data
        end = data.find(_HEAD_END)
        if end >= 0:
            head = data[:end].lower()
            place = head.find(_LENGTH)
            length = int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(data) >= end + len(_HEAD_END) + length:
                return data[9:12]
        self._partial[number] = data
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on and prints what came of it. Exit code 1, with a sentence, where it could not."""
    parser = argparse.ArgumentParser(prog="python -m bench.http1_generator", description=__doc__.split("\n")[0])
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--path", required=True)
    parser.add_argument("--messages", required=True, type=Path, help="file of length-prefixed bodies")
    parser.add_argument("--seconds", required=True, type=float)
    parser.add_argument("--in-flight", type=int, default=1)
    options = parser.parse_args(arguments)
    host, _, port = options.target.rpartition(":")
    try:
        bodies = message_file.read(options.messages)
        with closing(HttpLoop(host, int(port), options.path, bodies, options.in_flight)) as loop:
            result = loop.run(options.seconds)
    except (LoadError, OSError, ValueError) as error:
        print(f"http1_generator: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
