"""The thread that computes explanations, one after another, at the lowest priority; and the sessions that it keeps.

Serving goes first: while it has more to do than a share of the machine, explanations wait, and those that come are
refused.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from covey_server.errors import Overloaded, Stopping
from covey_server.explaining.inside import Inside
from covey_server.explaining.serving_time import SAMPLE_S, ServingTime
from covey_server.inference.served_model import ServedModel
from covey_server.system.threads import lower_priority

MAX_WAITING = 8
MAX_OF_CALLER = 4  # of those
MAX_BACKLOG_MS = 10.0  # of requests that wait; more, and serving has no time to spare
# The share of all cores that serving may take. The lowest priority alone is not enough: the serving threads wait while
# the explaining thread holds the interpreter's lock, and other processes may keep that one from running.
MAX_SERVING_SHARE = 0.35
MAX_KEPT_BYTES = 256 << 20  # of the files of kept sessions; one session may have more
IDLE_S = 60.0
_GIVE_WAY_S = 1.0  # between two runs, at the most


@dataclass
class Job:
    """One explanation. `work` gets the opened model and how long opening took, in ns; `fail` gets the exception."""

    model: ServedModel
    caller: str
    work: Callable[[Inside, int], None]
    fail: Callable[[Exception], None]


class Explainer:
    """Computes explanations on a thread of its own, which starts with the first one. Safe from any thread."""

    def __init__(self, backlog_ms: Callable[[], float], serving: ServingTime, idle_s: float = IDLE_S) -> None:
        """`backlog_ms` tells how long the requests that wait to be served will take."""
        self._backlog_ms = backlog_ms
        self._serving = serving
        self._idle_s = idle_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: Counter[str] = Counter()  # the running one too, by caller
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._kept: WeakKeyDictionary[ServedModel, Inside] = WeakKeyDictionary()  # the latest used last
        self._stop_waiting = threading.Event()

    @property
    def sessions(self) -> int:
        """The number of sessions that are kept."""
        return len(self._kept)

    def require_time(self) -> None:
        """Raises Overloaded while serving has no time to spare."""
        self._require_time(self._serving.latest)

    def _require_time(self, share: float) -> None:
        backlog_ms = self._backlog_ms()
        if backlog_ms > MAX_BACKLOG_MS:
            raise Overloaded(
                f"requests of {backlog_ms:.0f} ms wait to be served, and explanations come after them; try again later",
                retry_after_ms=max(1000, round(backlog_ms)),
            )
        if share > MAX_SERVING_SHARE:
            raise Overloaded(
                f"serving takes {share:.0%} of all cores, and explanations come after it (they are answered up to "
                f"{MAX_SERVING_SHARE:.0%}); try again later",
                retry_after_ms=1000,
            )

    def submit(self, job: Job) -> None:
        """Queues an explanation. Raises Overloaded, Stopping."""
        with self._lock:
            if self._closed:
                raise Stopping("the server is stopping; it explains nothing any more")
            waiting, of_caller = self._waiting.total(), self._waiting[job.caller]
            if waiting >= MAX_WAITING or of_caller >= MAX_OF_CALLER:
                raise Overloaded(
                    f"{of_caller} explanations of this connection and {waiting - of_caller} of others wait already; at "
                    f"most {MAX_OF_CALLER} of one and {MAX_WAITING} of all do. Try again later",
                    retry_after_ms=1000,
                )
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="explain", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads
                    raise Overloaded(f"the thread that explains cannot be started: {error}") from error
                self._thread = thread
            self._waiting[job.caller] += 1
            self._jobs.put(job)

    def give_way(self, require_wanted: Callable[[], None]) -> None:
        """Called between runs: waits while requests wait to be served. Raises Overloaded if that takes too long, and
        what `require_wanted` raises where nobody waits for the explanation."""
        give_up = time.monotonic() + _GIVE_WAY_S
        while True:
            require_wanted()
            share = self._serving.share(self._stop_waiting.wait)
            try:
                self._require_time(share)
                return
            except Overloaded:
                if time.monotonic() > give_up or self._stop_waiting.wait(SAMPLE_S):
                    raise

    def close(self) -> None:
        """Fails the waiting explanations; the current one goes on."""
        with self._lock:
            self._closed = True
        self._stop_waiting.set()
        self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread to end, after `close`. Returns False if it is still at work."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_s)
            except queue.Empty:
                self._kept.clear()
                continue
            if job is None:
                return
            self._handle(job)
            del job  # else it would keep its model alive until the next one comes

    def _handle(self, job: Job) -> None:
        try:
            if self._closed:
                raise Stopping("the server is stopping; it did not begin to explain")
            began = time.monotonic_ns()
            inside, is_new = self._open(job.model)
            job.work(inside, time.monotonic_ns() - began if is_new else 0)
        except Exception as error:  # noqa: BLE001 - the caller is told, whatever it is
            job.fail(error)
        finally:
            with self._lock:
                self._waiting[job.caller] -= 1
                if not self._waiting[job.caller]:
                    del self._waiting[job.caller]

    def _open(self, model: ServedModel) -> tuple[Inside, bool]:
        inside = self._kept.pop(model, None)
        is_new = inside is None
        if inside is None:
            inside = Inside(model)
            kept_bytes = inside.file_bytes + sum(kept.file_bytes for kept in self._kept.values())
            for model_kept in list(self._kept):
                if kept_bytes > MAX_KEPT_BYTES:
                    kept_bytes -= self._kept.pop(model_kept).file_bytes
        self._kept[model] = inside
        return inside, is_new
