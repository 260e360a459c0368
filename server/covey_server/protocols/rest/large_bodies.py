"""Reads large JSON and large forms on a thread of their own: they take up to 100 ms, for which the thread that takes
requests would take none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from covey_server.calls.call import Call
from covey_server.calls.http import HttpCall, HttpHandler, for_http
from covey_server.calls.service import Handler, handle
from covey_server.errors import Overloaded, RequestError, Stopping

LARGE_BYTES = 128 << 10


class LargeBodies:
    """The thread, and the requests that wait for it: at most `max_bytes` of them together, or one."""

    def __init__(
        self, begin: Callable[[bool], None], max_bytes: int, count_failure: Callable[[HttpCall, RequestError], None]
    ) -> None:
        """`begin` starts what handlers have queued. `count_failure` is told of requests that no service has seen."""
        self._begin = begin
        self._count_failure = count_failure
        self._max_bytes = max_bytes
        self._waiting_bytes = 0
        self.is_draining = False
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "http-bodies")

    def counted(self, handler: HttpHandler) -> HttpHandler:
        """A handler whose failures are counted, unless it has handed the call over, since then the service counts."""

        def count(call: HttpCall) -> None:
            try:
                handler(call)
            except RequestError as error:
                if call.write is None:
                    self._count_failure(call, error)
                raise

        return count

    def submit(self, call: HttpCall, handler: Handler) -> None:
        """Has a handler read the call when its turn comes. Raises Overloaded, Stopping."""
        size_bytes = len(call.payload)
        with self._lock:
            if self.is_draining:
                raise Stopping("the server is shutting down; send the request again, to another server or later")
            if self._waiting_bytes and self._waiting_bytes + size_bytes > self._max_bytes:
                raise Overloaded(
                    f"{self._waiting_bytes:,} bytes of JSON and forms wait to be read already; try again later, or "
                    f"send files as they are",
                    retry_after_ms=1000,
                    refused_for="bytes",
                )
            self._waiting_bytes += size_bytes
            self._thread.submit(self._read, call, handler, size_bytes)

    def drain(self, timeout_s: float) -> None:
        """Takes nothing more, and waits until all that waits is read and handed over, or time runs out."""
        with self._lock:
            if self.is_draining:
                return
            self.is_draining = True
            last = self._thread.submit(lambda: None)
        wait((last,), timeout_s)

    def close(self) -> None:
        """Reads nothing more."""
        with self._lock:
            self.is_draining = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, call: HttpCall, handler: Handler, size_bytes: int) -> None:
        def read(call: Call) -> None:
            try:
                if not call.cancelled:  # else nobody waits for it any more
                    handler(call)
            finally:  # before the answer, whose caller may send the next body at once
                with self._lock:
                    self._waiting_bytes -= size_bytes

        handle(read, call)
        self._begin(False)


def aside(large: LargeBodies, handler: HttpHandler, slow_bytes: Callable[[HttpCall], int]) -> HttpHandler:
    """A handler that leaves large bodies to that thread, and has its failures counted. `slow_bytes` tells how many
    bytes of a body are slow to read."""

    def choose(call: HttpCall) -> None:
        if len(call.payload) > LARGE_BYTES and slow_bytes(call) > LARGE_BYTES:
            large.submit(call, for_http(large.counted(handler)))
        else:
            handler(call)

    return large.counted(choose)
