"""Runs the calls that load and unload models, one after another on a thread of its own: loading takes seconds, and
requests have priority."""

from __future__ import annotations

import contextlib
import queue
import threading

from covey_server.calls import status
from covey_server.calls.call import Call
from covey_server.calls.service import Handler, handle
from covey_server.errors import Overloaded, Stopping
from covey_server.system.threads import lower_priority

_MAX_WAITING = 64


class Management:
    """The thread, and the calls that wait for it."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Handler, Call] | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()  # nothing is put behind the end
        self._thread = threading.Thread(target=self._run, name="management", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, handler: Handler, call: Call) -> None:
        """Lets `handler` answer the call when its turn comes. Raises Overloaded if too many wait, Stopping after
        `close`."""
        with self._lock:
            if self._closed:
                raise Stopping("the server is stopping; it loads and unloads no models any more")
            if self._waiting.qsize() >= _MAX_WAITING:
                raise Overloaded(f"{_MAX_WAITING} calls wait to load or unload models already; try again later")
            self._waiting.put((handler, call))

    def close(self) -> None:
        """Refuses all calls that wait or come. Loading that has begun goes on; `join` tells whether it has ended."""
        with self._lock:
            self._closed = True
        stopping = status.of(Stopping("the server is stopping; it did not begin to load or unload the model"))
        with contextlib.suppress(queue.Empty):
            while (waiting := self._waiting.get_nowait()) is not None:
                waiting[1].fail(stopping)
        self._waiting.put(None)

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread to end, after `close`. Returns False if it was still loading a model after that time."""
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while (waiting := self._waiting.get()) is not None:
            handler, call = waiting
            if not call.cancelled:  # else nobody waits for it any more
                handle(handler, call)
            del waiting, handler, call  # else the call would live until the next one comes
