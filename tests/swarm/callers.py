"""Callers of several servers by the SDK, as users write it: a list of addresses, its retries, nothing else."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

import covey

DEADLINE_MS = 30_000.0  # of a call: a connection that fell silent is noticed after 5 to 10 s


class Callers:
    """Threads that classify images without a pause, each image in turn, until the end of the block."""

    def __init__(
        self,
        client: covey.Client,
        images: NDArray[np.uint8],
        classes: Sequence[int],
        threads: int,
    ) -> None:
        """`classes`: the right answers about the images."""
        self.answered = 0
        self.slowest_ms = 0.0
        self.failures: Counter[str] = Counter()
        self.wrong = 0
        self._client = client
        self._images, self._classes = images, classes
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(first,)) for first in range(threads)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def take_slowest_ms(self) -> float:
        """How long the slowest call took since this was last called."""
        with self._lock:
            slowest, self.slowest_ms = self.slowest_ms, 0.0
            return slowest

    def _run(self, place: int) -> None:
        while not self._is_over.is_set():
            place = (place + 1) % len(self._images)
            began_s = time.perf_counter()
            try:
                answer = self._client.classify(self._images[place])
            except covey.CoveyError as error:
                with self._lock:
                    self.failures[f"{type(error).__name__}: {error}"[:300]] += 1
                self._is_over.wait(0.05)
                continue
            took_ms = (time.perf_counter() - began_s) * 1000  # retries included
            with self._lock:
                self.answered += 1
                self.wrong += answer.index != self._classes[place]
                self.slowest_ms = max(self.slowest_ms, took_ms)
