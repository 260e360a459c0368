"""A model and requests as the queue sees them, for tests that need neither a network nor an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Request
from covey_server.errors import EngineFailed
from covey_server.images.decode_pool import Steps
from covey_server.inference.cost import CostModel
from covey_server.inference.served_model import ServedModel

MS = 1_000_000  # nanoseconds
T = TypeVar("T")


def finish(steps: Steps[T]) -> T:
    """Takes all steps on the calling thread."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class FakeModel(ServedModel):
    """An identity model whose runs can be held back: probabilities are the pixels themselves."""

    def __init__(self, best_batch_size: int = 8, classes: int = 4, run_ms: float = 1.0) -> None:
        """Every batch takes `run_ms`, by its cost model, so that the largest is the best."""
        self.cost = CostModel({1: run_ms * MS, best_batch_size: run_ms * MS})
        assert self.cost.best_batch_size == best_batch_size
        self.input_shape = (1, classes, 1)
        self.batches: list[list[int]] = []  # the first pixel of each image of each batch
        self.started = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.gated = False
        self.failures: list[Exception] = []  # raised by the next runs
        self.guilty: set[int] = set()  # first pixels of images on which each run fails
        self.broken = False  # each run fails, whatever it is given

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(images[:, 0, 0, 0].tolist())
        self.started.release()
        if self.gated:
            self.gate.acquire()
        if self.failures:
            raise self.failures.pop(0)
        if self.broken or not self.guilty.isdisjoint(images[:, 0, 0, 0].tolist()):
            raise EngineFailed(f"broken by a batch of {len(images)}")
        return images.reshape(len(images), -1).astype(np.float32)


class FakeRequest(Request):
    """Remembers its answer."""

    __slots__ = ("_cancelled", "answered", "answers", "error", "images")

    def __init__(
        self, model: ServedModel, images: NDArray[np.uint8], deadline_ns: int | None = None, caller: str = ""
    ) -> None:
        super().__init__(model, images.tobytes(), len(images), 0, deadline_ns, caller)
        self.images = images
        self.answers: list[NDArray[np.float32]] = []
        self.error: Exception | None = None
        self.answered = threading.Event()
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
        return [row.tobytes() for row in output.probabilities[first : first + count]]

    def succeed(self, rows: Sequence[Buffer]) -> None:
        assert len(rows) == self.count
        self.answers.append(np.frombuffer(b"".join(rows), np.float32).reshape(self.count, -1))
        self.answered.set()

    def fail(self, error: Exception) -> None:
        assert self.error is None, "a request is answered once"
        self.error = error
        self.answered.set()

    def got_its_own(self) -> bool:
        """Whether it was answered once, with the rows of its own images."""
        expected = self.images.reshape(self.count, -1).astype(np.float32)
        return len(self.answers) == 1 and self.error is None and np.array_equal(self.answers[0], expected)


def make_request(
    model: FakeModel, mark: int = 0, count: int = 1, deadline_ns: int | None = None, caller: str = ""
) -> FakeRequest:
    """A request of `count` images whose first pixels are `mark`, `mark` + 1, ..."""
    images = np.zeros((count, *model.input_shape), np.uint8)
    images[:, 0, :, 0] = np.arange(count)[:, None] + mark + np.arange(model.input_shape[1])
    return FakeRequest(model, images, deadline_ns, caller)


def take(batcher: Batcher) -> Batch:
    """The next batch; there has to be one."""
    batch = batcher.take()
    assert batch is not None
    return batch


def marks(batch: Batch) -> list[int]:
    """The first pixel of each image."""
    return [int(mark) for mark in batch.images()[:, 0, 0, 0]]


def in_ms(milliseconds: float) -> int:
    """A deadline."""
    return time.monotonic_ns() + int(milliseconds * MS)


def put(batcher: Batcher, *requests: FakeRequest) -> None:
    """Queues some requests, in order."""
    for request in requests:
        batcher.put(request)
