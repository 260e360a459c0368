"""Owns the waiting: one queue per model, and the forming of batches from what waits.

Nothing here has a timer. A lone request leaves as soon as a worker is free; while all workers are busy requests
gather, and the next free worker takes what is there, up to the model's largest batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Request, Runnable, refuse_obsolete
from covey_server.errors import Cancelled, Expired, RequestError, Stopping


@dataclass(slots=True)
class Part:
    """Images `start` to `stop` of a request."""

    request: Request
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        return self.stop - self.start == self.request.count


class Batch:
    """Parts of requests for one model that run together."""

    __slots__ = ("model", "parts", "size")

    def __init__(self, model: Runnable, parts: list[Part], size: int) -> None:
        self.model = model
        self.parts = parts
        self.size = size

    def images(self) -> NDArray[np.uint8]:
        """All rows in one array `[size, H, W, C] uint8`, copied once."""
        row_bytes = len(self.parts[0].request.rows) // self.parts[0].request.count
        rows: list[Buffer] = [
            part.request.rows
            if part.whole
            else memoryview(part.request.rows)[part.start * row_bytes : part.stop * row_bytes]
            for part in self.parts
        ]
        joined = rows[0] if len(rows) == 1 else b"".join(rows)
        return np.frombuffer(joined, np.uint8).reshape(self.size, *self.model.input_shape)

    def complete(self, output: Output, computed_ns: int) -> list[tuple[Request, Output, int]]:
        """Gives each part its rows. Returns the requests that are whole now: (request, output, first row)."""
        whole: list[tuple[Request, Output, int]] = []
        first = 0
        for part in self.parts:
            request, count = part.request, part.stop - part.start
            joined: Output | None = output
            if not part.whole:
                joined = request.join(part.start, output.probabilities[first : first + count])
            if joined is not None:
                request.computed_ns = computed_ns
                request.batch_size = self.size
                whole.append((request, joined, first if part.whole else 0))
            first += count
        return whole

    def fail(self) -> list[Request]:
        """The requests that have to be told of a failure; a split one only once."""
        return [part.request for part in self.parts if part.whole or part.request.abandon()]


class _Queue:
    """What waits for one model, and since when the model has waited for a batch."""

    __slots__ = ("requests", "waiting_since_ns")

    def __init__(self, first: Request) -> None:
        self.requests = deque((first,))
        self.waiting_since_ns = first.queued_ns


class Batcher:
    """Requests in from any thread, batches out to any number of workers."""

    def __init__(self) -> None:
        self._queues: dict[Runnable, _Queue] = {}  # of the models that have something waiting
        self._condition = threading.Condition(threading.Lock())
        self._idle_workers = 0
        self._closed = False

    def put(self, request: Request) -> None:
        """Queues a request. Raises Stopping after `close`."""
        request.queued_ns = time.monotonic_ns()
        with self._condition:
            if self._closed:
                raise Stopping("the server is shutting down")
            queue = self._queues.get(request.model)
            if queue is None:
                self._queues[request.model] = _Queue(request)
            else:
                queue.requests.append(request)
            if self._idle_workers:
                self._condition.notify()

    def take(self) -> Batch | None:
        """The next batch; waits for one. None once closed and empty.

        Of several models the one that waited longest for a batch is next, so that a busy model cannot starve a
        quiet one, however much of it waits. Requests whose caller went away or whose deadline passed are told so
        and cost no place.
        """
        while True:
            dropped: list[tuple[Request, RequestError]] = []
            with self._condition:
                while not self._queues:
                    if self._closed:
                        return None
                    self._idle_workers += 1
                    self._condition.wait()
                    self._idle_workers -= 1
                model = min(self._queues, key=self._waiting_since)
                batch = self._form(model, dropped)
                if self._queues and self._idle_workers:
                    self._condition.notify()
            for request, error in dropped:
                request.fail(error)
            if batch.size:
                return batch

    def close(self) -> None:
        """Takes nothing more; workers get what waits, then None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def waiting_images(self) -> dict[Runnable, int]:
        """How many images wait, by model."""
        with self._condition:
            return {
                model: sum(request.count - request.taken for request in queue.requests)
                for model, queue in self._queues.items()
            }

    def _waiting_since(self, model: Runnable) -> int:
        return self._queues[model].waiting_since_ns

    def _form(self, model: Runnable, dropped: list[tuple[Request, RequestError]]) -> Batch:
        """Takes the next batch of a model off its queue; it is empty where all that waited was dropped."""
        queue = self._queues[model].requests
        room = model.max_batch_size
        now = time.monotonic_ns()
        parts: list[Part] = []
        while queue and room:
            request = queue[0]
            try:
                refuse_obsolete(request.cancelled, request.arrived_ns, request.deadline_ns, now)
            except (Cancelled, Expired) as error:
                queue.popleft()
                if request.taken == 0 or request.abandon():
                    dropped.append((request, error))
                continue
            if request.taken == 0:
                request.started_ns = now
                if request.count > room:
                    request.split()
            elif request.abandoned:  # an earlier part failed: the rest is of no use
                queue.popleft()
                continue
            count = min(room, request.count - request.taken)
            parts.append(Part(request, request.taken, request.taken + count))
            request.taken += count
            room -= count
            if request.taken == request.count:
                queue.popleft()
        if queue:
            self._queues[model].waiting_since_ns = max(now, queue[0].queued_ns)
        else:
            del self._queues[model]
        return Batch(model, parts, model.max_batch_size - room)
