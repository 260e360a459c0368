"""Predicts when requests will be answered, and decides by that whether and where they are queued to meet their
deadlines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from covey_server.batching import places
from covey_server.batching.model_queue import ModelQueue
from covey_server.batching.request import Request
from covey_server.errors import DeadlineTooShort, Expired, Overloaded

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

# Estimates are multiplied by a factor, the caution, since a queue full of requests that will just make it is a queue of
# late answers. It grows with each batch that was late and falls slowly while none is.
_MIN_CAUTION, _MAX_CAUTION = 1.1, 3.0
_CAUTION_UP, _CAUTION_DOWN = 1.05, 0.9995
AMPLE = 4  # times the time that is needed: with as much nothing has to be decided
_WIRE_SHARE = 1 / 32  # of the time a caller allows, for the way back


class Estimates:
    """Of one batcher, which holds the lock, and whose queues it reads. Times are in ns."""

    def __init__(self, queues: Mapping[ServedModel, ModelQueue], workers: int) -> None:
        self._queues = queues
        self._workers = workers
        self._caution = 1.25

    def learn(self, first: Request, answered_ns: int) -> None:
        """Adapts the caution to an answered batch: was its first request, which had the least time, in time?"""
        if first.deadline_ns is not None:
            late = answered_ns > first.deadline_ns - (first.deadline_ns - first.arrived_ns) * _WIRE_SHARE
            self._caution = min(
                max(self._caution * (_CAUTION_UP if late else _CAUTION_DOWN), _MIN_CAUTION), _MAX_CAUTION
            )

    def is_ample(self, request: Request, queue: ModelQueue, now_ns: int) -> bool:
        """Whether the deadline, as most do, leaves far more time than is needed: then nothing has to be decided."""
        if request.deadline_ns is None:
            return True
        cost = request.model.cost
        return (
            len(self._queues) <= (request.model in self._queues)  # no other model waits
            and request.deadline_ns - now_ns
            > AMPLE * cost.image_ns * (queue.images + request.count + cost.best_batch_size)
        )

    def place(self, request: Request, queue: ModelQueue, now_ns: int, *, is_idle: bool) -> None:
        """Queues a request where it can meet its deadline: in its turn, or before requests that have more time.
        `is_idle`: whether a worker is.

        Raises Expired if the deadline has passed, DeadlineTooShort if even an idle server could not meet it, Overloaded
        if too much waits.
        """
        left_ns = (request.deadline_ns or now_ns) - now_ns
        if left_ns <= 0:
            raise Expired(
                f"the deadline passed {-left_ns / 1e6:.1f} ms before the images were queued; allow more time",
                refused_for="deadline",
            )
        least_ns = self.least_ns(request)
        if least_ns > left_ns:
            raise DeadlineTooShort(
                f"computing {request.count:,} image(s) takes about {least_ns / 1e6:.1f} ms here, and the deadline is "
                f"{left_ns / 1e6:.1f} ms away; allow more time, or send fewer images per call",
                refused_for="deadline",
            )
        if not self._queues and is_idle:  # whatever is predicted: predictions improve only by runs
            queue.append(request)
            return
        if self.answer_ns(request, queue.images, is_idle) <= left_ns:
            queue.append(request)
            return
        before = places.images_before(queue, request)
        needed_ns = self.answer_ns(request, before, is_idle)
        if needed_ns <= left_ns:
            queue.append(request)
            return
        place, ahead = places.by_deadline(queue, request, now_ns + left_ns, now_ns)
        if place < len(queue.requests) and self.answer_ns(request, ahead, is_idle) <= left_ns:
            queue.insert(place, request)
            return
        raise Overloaded(
            f"the answer would take about {needed_ns / 1e6:.1f} ms ({before:,} images wait before it), and the "
            f"deadline is {left_ns / 1e6:.1f} ms away; try again later, or allow more time",
            retry_after_ms=math.ceil(max(1.0, (needed_ns - left_ns) / 1e6)),
            refused_for="deadline",
        )

    def backlog_ns(self) -> float:
        """The time to run all that waits, on one worker."""
        return sum(queue.images * model.cost.image_ns for model, queue in self._queues.items())

    def least_ns(self, request: Request) -> float:
        """The time that computing takes on an idle server."""
        cost = request.model.cost
        return cost.measured_ns(request.count) / min(self._workers, math.ceil(request.count / cost.best_batch_size))

    def answer_ns(self, request: Request, ahead: int, is_idle: bool) -> float:
        """The time until a request's answer, with so many images of the same model before it. `is_idle`: whether a
        worker is idle."""
        return self._caution * (self._waiting_ns(request.model, ahead, is_idle) + self._run_ns(request, ahead))

    def _run_ns(self, request: Request, ahead: int) -> float:
        """The time of computing once it begins. A small request shares its batch with images before it; one of many
        batches has all workers."""
        cost = request.model.cost
        batches = request.count / cost.best_batch_size
        if batches <= 1:
            return cost.predict(min(ahead + request.count, cost.best_batch_size))
        return cost.batch_ns * max(1.0, batches / self._workers)

    def _waiting_ns(self, model: ServedModel, images: int, is_idle: bool) -> float:
        """The time that so many images of a model take to leave, with other models' turns in between."""
        if not images and is_idle:
            return 0.0
        turns = images // model.cost.best_batch_size
        others_ns = sum(
            min(1.0, queue.images / other.cost.best_batch_size) * other.cost.batch_ns
            for other, queue in self._queues.items()
            if other is not model
        )
        # All workers are busy, on average with half a batch left.
        rest_ns = 0.0 if is_idle else model.cost.batch_ns / 2
        return (rest_ns + turns * model.cost.batch_ns + (turns + 1) * others_ns) / self._workers
