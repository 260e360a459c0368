"""Sends cases over HTTP, each on a connection of its own, and judges the first answer to each."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tests.fuzz.campaign import SILENCE_LIMIT_S, Finding, Tally
from tests.fuzz.case import Case
from tests.fuzz.http_cases import FRAMED
from tests.fuzz.samples import ECHO_CLASSES

_CALLERS = 8
_PATIENCE_S = 0.05  # with a case that may only be the beginning of a request
_MAX_SLOWEST = 3


class HttpCampaign:
    """As Campaign."""

    def __init__(self, port: int, progress: Callable[[int], object] = id) -> None:
        self._address = ("127.0.0.1", port)
        self._progress = progress
        self._lock = threading.Lock()
        self.tally = Tally()

    def run(self, cases: Iterable[Case]) -> Tally:
        """Sends all cases and waits for what comes of each. Ends early if the server is gone."""
        source = iter(cases)
        with ThreadPoolExecutor(_CALLERS) as pool:
            for each in [pool.submit(self._send_all, source) for _ in range(_CALLERS)]:
                each.result()
        return self.tally

    def _send_all(self, source: Iterator[Case]) -> None:
        while True:
            with self._lock:
                case = next(source, None)
            if case is None:
                return
            began = time.monotonic()
            try:
                status, body = self._send(case)
            except ConnectionRefusedError as error:
                self._find(f"no connection to the server any more: {error}", case)
                return
            with self._lock:
                self._judge(case, status, body, time.monotonic() - began)
                self._progress(self.tally.done)

    def _send(self, case: Case) -> tuple[int, bytes]:
        """Status and body of the first answer; status 0: none came."""
        must_answer = case.kind in FRAMED
        with socket.create_connection(self._address, timeout=SILENCE_LIMIT_S) as connection:
            try:
                connection.sendall(case.body)
                connection.settimeout(SILENCE_LIMIT_S if must_answer else _PATIENCE_S)
                reader = connection.makefile("rb")
                line = reader.readline()
                while line.startswith(b"HTTP/1.1 100"):
                    reader.readline()
                    line = reader.readline()
                if not line:
                    return 0, b"closed"
                length = 0
                while (field := reader.readline()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    length = int(value) if name == b"Content-Length" else length
                return int(line.split()[1]), b"" if case.body.startswith(b"HEAD") else reader.read(length)
            except TimeoutError:
                return 0, b"silence"
            except ConnectionError:
                return 0, b"closed"

    def _judge(self, case: Case, status: int, body: bytes, seconds: float) -> None:
        tally = self.tally
        tally.done += 1
        tally.statuses[case.kind, str(status) if status else body.decode()] += 1
        tally.slowest = sorted([*tally.slowest, (seconds, case.number)], reverse=True)[:_MAX_SLOWEST]
        if status not in case.allowed and (status or case.kind in FRAMED):
            self._find(f"answer {status} {body[:300]!r} to a case of the kind {case.kind!r}", case)
        elif case.expected and not _is_expected(case, body):
            self._find(f"other classes than {case.expected}", case)

    def _find(self, what: str, case: Case) -> None:
        self.tally.findings.append(Finding(what, (case,)))


def _is_expected(case: Case, body: bytes) -> bool:
    """Whether the most probable class is the right one. The answer is JSON, and behind it the probabilities."""
    return int(np.frombuffer(body[-4 * ECHO_CLASSES :], "<f4").argmax()) == case.expected[0]
