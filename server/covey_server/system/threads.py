"""Failures to start threads: a limit of the container or the user is reached (`pids_limit`, `ulimit -u`)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

ADVICE = (
    "this process may start no more threads; raise the limit of the container (--pids-limit, pids_limit), of the "
    "service (TasksMax) or of the user (ulimit -u)"
)


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
