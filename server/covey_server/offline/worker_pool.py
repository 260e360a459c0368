"""Workers on this machine: processes of one thread each, or threads of this process.

Python runs on one core at a time in a process, and small images cost more Python than computing. So on CPUs each worker
is a process, where there is memory for as many models. On CUDA all threads share one model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, TypeVar

from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.chunk_pool import CHUNKS_PER_WORKER, ChunkPool, LostWorker
from covey_server.offline.chunks import Image
from covey_server.offline.worker import Settings, Worker
from covey_server.system import memory
from covey_server.system.memory_limit import room

Kind = Literal["auto", "processes", "threads"]
T = TypeVar("T")

_PROCESS_BYTES = 150 << 20  # of a worker process beside its model (measured: 110 to 130 MB)
_POLL_S = 0.2


class WorkerPool(ChunkPool):
    """See ChunkPool."""

    reads_files = True

    def __init__(self, settings: Settings, workers: int, kind: Kind, watch: Callable[[], None]) -> None:
        """`watch` is called now and then while a caller waits; an exception that it raises ends the waiting. Raises
        RuntimeError where no more threads can be started."""
        self._workers = workers
        self._uses_processes = kind == "processes" or (kind == "auto" and _prefer_processes(settings, workers))
        self._watch = watch
        self._pool: Executor
        if self._uses_processes:
            context = multiprocessing.get_context("spawn")
            self._stopping: threading.Event = context.Event()  # type: ignore[assignment]  # it has the same methods
            worker_settings = replace(settings, threads=1, decode_bytes=settings.decode_bytes // workers)
            self._pool = ProcessPoolExecutor(workers, context, _start_worker, (worker_settings, self._stopping))
            self._classify, first, others = _classify, _facts, _load
        else:
            self._stopping = threading.Event()
            worker = Worker(replace(settings, threads=workers), self._stopping.is_set)
            self._pool = ThreadPoolExecutor(workers, "batch")
            self._classify, first, others = worker.classify, worker.facts, worker.load
        with _without_interrupts():  # which the processes inherit: this one decides what Ctrl-C means
            self._facts_future = self._pool.submit(first)
            self._load_futures = [self._pool.submit(others) for _ in range(workers - 1)]

    @property
    def description(self) -> str:
        return f"{self._workers} {'processes' if self._uses_processes else 'threads'}"

    def _load(self) -> Facts:
        facts = self._result(self._facts_future)
        for load in self._load_futures:
            self._result(load)
        return facts

    def _limit(self) -> int:
        return CHUNKS_PER_WORKER * self._workers

    def _submit(self, images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Callable[[], Answers]:
        try:
            future = self._pool.submit(self._classify, images, options, batch_size)
        except BrokenProcessPool as error:
            raise _lost_worker() from error
        return lambda: self._result(future)

    def close(self) -> None:
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _result(self, future: Future[T]) -> T:
        while not future.done():
            self._watch()
            wait([future], _POLL_S)
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _lost_worker() from error


def _lost_worker() -> LostWorker:
    return LostWorker(
        "a worker ran out of memory or was ended by the system", "Free some memory, or take fewer workers (--workers 1)"
    )


def _prefer_processes(settings: Settings, workers: int) -> bool:
    if workers == 1 or settings.device.is_cuda:
        return False
    available = room()
    needed = workers * (_PROCESS_BYTES + 2 * settings.model.stat().st_size)
    return available is None or needed <= available.free_bytes // 2


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks SIGINT for this thread, and so for the processes that it starts meanwhile, which keep it blocked."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


# In a worker process

_worker: Worker | None = None


def _start_worker(settings: Settings, stopping: threading.Event) -> None:
    global _worker
    memory.bound_freed_memory()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _worker = Worker(settings, stopping.is_set)


def _end_with_parent() -> None:
    """Ends this process when its parent ends, even if that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _facts() -> Facts:
    assert _worker is not None
    return _worker.facts()


def _load() -> None:
    assert _worker is not None
    _worker.load()


def _classify(images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Answers:
    assert _worker is not None
    return _worker.classify(images, options, batch_size)
