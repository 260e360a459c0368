"""Threads: their priority, and failures to start them, where a limit of the container or the user is reached
(`pids_limit`, `ulimit -u`)."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

ADVICE = (
    "this process may start no more threads; raise the limit of the container (--pids-limit, pids_limit), of the "
    "service (TasksMax) or of the user (ulimit -u)"
)

# Loading and measuring a model keeps a core busy for a while. At half load on two cores the p99 of requests during a
# reload was 3.4 times that before it at the usual priority, and 1.2 times at the lowest one (a run each).
_LOWEST_PRIORITY = 19

# A thread that computes in Python keeps the interpreter's lock for 5 ms each time another one wants it, and a request
# needs that lock about seven times on its way. One that pauses keeps it for a step.
STEP_NS = 1_000_000
_PAUSE_S = 0.000_05  # with what the system adds, 0.1 ms


def pause() -> None:
    """Lets threads run that wait for the interpreter's lock. For long work, after each step."""
    time.sleep(_PAUSE_S)


def with_pauses(items: Iterable[T]) -> Iterator[T]:
    """The items, with a pause after each step of work on them."""
    began_ns = time.monotonic_ns()
    for item in items:
        yield item
        if time.monotonic_ns() - began_ns > STEP_NS:
            pause()
            began_ns = time.monotonic_ns()


def is_none_left(error: RuntimeError) -> bool:
    """Whether the error, of Python or a library, means that no more threads can be started."""
    text = str(error).lower()
    return "can't start new thread" in text or "failed to spawn thread" in text


def start_all(pool: ThreadPoolExecutor, count: int) -> None:
    """Starts all `count` threads of a pool now. Otherwise the pool starts a thread when a job needs it, and that job
    fails if it cannot. Raises RuntimeError."""
    all_started = threading.Barrier(count)
    try:
        for _ in range(count):
            pool.submit(all_started.wait)
    except RuntimeError:
        all_started.abort()
        raise


def require(count: int) -> None:
    """Raises RuntimeError if `count` more threads cannot be started now. For libraries that would crash then."""
    with ThreadPoolExecutor(count) as pool:
        start_all(pool, count)


def lower_priority() -> None:
    """Gives the calling thread the lowest priority, so that requests go first."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
