"""Threads that cannot be had: a limit of the container or the user is reached (`pids_limit`, `ulimit -u`)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

ADVICE = (
    "this process may start no more threads; raise the limit of the container (--pids-limit, pids_limit), of the "
    "service (TasksMax) or of the user (ulimit -u)"
)


def is_none_left(error: RuntimeError) -> bool:
    """Whether that is what Python, or a library below it, says by an error."""
    text = str(error).lower()
    return "can't start new thread" in text or "failed to spawn thread" in text


def start_all(pool: ThreadPoolExecutor, count: int) -> None:
    """Starts the `count` threads of a pool at once: it would start each when it is needed first, and fail the job at
    hand where it cannot. Raises RuntimeError."""
    all_started = threading.Barrier(count)
    try:
        for _ in range(count):
            pool.submit(all_started.wait)
    except RuntimeError:
        all_started.abort()
        raise


def require(count: int) -> None:
    """Raises RuntimeError where `count` more threads cannot be had at this moment: for libraries that crash then."""
    with ThreadPoolExecutor(count) as pool:
        start_all(pool, count)
