"""The batcher: one queue for each model; decides which model is next and which thread runs its batch.

There is no timer unless `max_delay_ns` is set. A lone request leaves as soon as a thread is free. While all threads are
busy requests gather, and the next free thread takes what is there, up to the model's best batch size.

A thread that has queued requests calls `take_short` (through `Workers.dispatch`): it gets the batches that it runs
faster itself than it could wake another thread, and a worker is woken for the rest.

Some workers may be reserves, for the core that the front needs too. They take only what is worth that core: a full
batch, or a batch of a model that nobody runs while all other workers are busy.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from covey_server.batching.batch import Batch, DispatchReason, Part
from covey_server.batching.estimates import AMPLE, Estimates
from covey_server.batching.model_queue import ModelQueue
from covey_server.batching.request import Group, Request
from covey_server.batching.reruns import Rerun
from covey_server.batching.suspects import Suspects
from covey_server.errors import RequestError, Stopping

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

Dropped = list[tuple[Request, RequestError]]


class Batcher:
    """Takes requests from any thread and gives batches to any number of workers."""

    def __init__(self, workers: int = 1, reserves: int = 0, max_delay_ns: int = 0) -> None:
        """`workers` and `reserves` say how many threads share the waiting work."""
        self._ordinary_workers = workers
        self._workers = workers + reserves
        self._max_delay_ns = max_delay_ns
        self._queues: dict[ServedModel, ModelQueue] = {}  # only of models for which something waits
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._spare_work = threading.Condition(self._lock)
        self.idle_workers = 0  # waiting for a batch
        self._idle_reserves = 0
        self._running: Counter[ServedModel] = Counter()  # batches that workers run, by model
        self._suspects = Suspects()
        self._closed = False
        self._estimates = Estimates(self._queues, self._workers)

    def put(self, request: Request) -> None:
        """Queues a request; `Workers.dispatch` starts it, with all that came together. Raises Stopping after `close`,
        and as Estimates.place for a deadline that cannot be met."""
        now = request.queued_ns = time.monotonic_ns()
        with self._lock:
            if self._closed:
                raise Stopping("the server is shutting down")
            model = request.model
            queue = self._queues.get(model)
            if queue is None:
                queue = ModelQueue(model, self._suspects)
            if self._estimates.is_ample(request, queue, now):
                queue.append(request)
            else:
                queue.expand()
                self._estimates.place(request, queue, now, is_idle=bool(self.idle_workers))
            self._queues[model] = queue

    def may_group(self, model: ServedModel, images: int) -> bool:
        """Whether `put_group` may succeed with so many images: asked before the group is made."""
        queue = self._queues.get(model)
        return (0 if queue is None else queue.images) + images <= model.cost.best_batch_size

    def put_group(self, group: Group) -> bool:
        """Queues a group, as `put`. Returns False, and leaves it alone, unless all of it can leave with the next batch:
        only then nothing has to be decided between its requests."""
        now = group.queued_ns = time.monotonic_ns()
        with self._lock:
            if self._closed:
                return False
            model = group.model
            queue = self._queues.get(model)
            if queue is None:
                queue = ModelQueue(model, self._suspects)
            if not self._estimates.is_ample(group, queue, now) or not queue.append_group(group):
                return False
            self._queues[model] = queue
            return True

    def take_at_once(self, group: Group, time_ns: float) -> Batch | None:
        """What `put_group` and `take_short` would give if nothing else waits, for the calling thread to run. None, and
        nothing is done, if it takes longer than `time_ns`, or if anything else has to be considered."""
        model, count = group.model, group.count
        cost, now, deadline_ns = model.cost, time.monotonic_ns(), group.deadline_ns
        run_ns = cost.predict(count)
        if (
            run_ns > time_ns
            or count > cost.best_batch_size
            or self._max_delay_ns
            or cost.workers_until_ns > now
            or group.cancelled
            or (deadline_ns is not None and deadline_ns - now < AMPLE * run_ns)
        ):
            return None
        with self._lock:
            if self._closed or self._queues or self._suspects or self._running.get(model):
                return None
        group.queued_ns = group.started_ns = now
        return Batch(model, [Part(group, 0, count)], count, now, "full" if count == cost.best_batch_size else "inline")

    def take(self, reserve: bool = False) -> Batch | None:
        """Waits for the next batch. `finish` has to follow. Returns None once the batcher is closed and empty.

        Of several models the one that has waited longest for a batch is next: a busy model cannot starve a quiet one,
        and one for which only priority batch waits comes later, as `ModelQueue.due_ns` says.
        Requests that are expired or cancelled, or cannot be computed in time any more, are answered so here.
        """
        reason: DispatchReason = "gathered"
        while True:
            dropped: Dropped = []
            with self._lock:
                while (model := self._next(reserve)) is None:
                    if self._closed and not self._queues:
                        return None
                    reason = "delay" if self._queues and not reserve else "idle"
                    self._wait(reserve)
                batch = self._form(model, reason, dropped)
                if batch.size:
                    self._running[model] += 1
                self._wake()
            _tell(dropped)
            if batch.size:
                return batch
            del batch, model  # a waiting thread must not keep a model alive

    def finish(self, batch: Batch) -> None:
        """Tells that a batch from `take` has ended, whether it failed or not."""
        with self._lock:
            self._running[batch.model] -= 1
            if not self._running[batch.model]:
                del self._running[batch.model]

    def take_short(self, time_ns: float) -> Batch | None:
        """A batch for the calling thread to run, predicted to take no longer than `time_ns`; None if there is none. A
        worker is woken for what takes longer.
        """
        if not self._queues:
            return None
        while True:
            batch: Batch | None = None
            dropped: Dropped = []
            with self._lock:
                for model in self._by_waiting() if time_ns > 0 else ():
                    queue, cost = self._queues[model], model.cost
                    run_ns = cost.predict(min(queue.images, cost.best_batch_size))
                    # While a worker runs the model its requests gather: one by one they would cost more.
                    if (
                        run_ns <= time_ns
                        and self._is_due(queue)
                        and not self._running.get(model)
                        and not queue.reruns
                        and not (cost.workers_until_ns and cost.workers_until_ns > time.monotonic_ns())
                    ):
                        batch = self._form(model, "inline", dropped)
                        time_ns -= run_ns
                        break
                if batch is None or self._estimates.backlog_ns() > time_ns:
                    self._wake()
            _tell(dropped)
            if batch is None or batch.size:
                return batch

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def run_again(self, model: ServedModel, reruns: list[Rerun]) -> None:
        """Queues parts of a failed batch; only workers take them."""
        with self._lock:
            queue = self._queues.get(model)
            if queue is None:
                queue = self._queues[model] = ModelQueue(model, self._suspects)
            queue.run_again(reruns, time.monotonic_ns())
            self._wake()

    def suspect(self, callers: Iterable[str], *, known: bool = False) -> None:
        """Makes these callers' requests run in batches of their own for a while. With `known` it only prolongs that for
        callers whose requests do so already."""
        with self._lock:
            for caller in callers:
                if not known or caller in self._suspects:
                    self._suspects.add(caller)

    def wake(self) -> None:
        """Wakes an idle worker, if there is one, for what waits."""
        with self._lock:
            self._wake()

    def learn(self, batch: Batch, answered_ns: int) -> None:
        """To be told of each batch that is answered."""
        if batch.search is None:  # one that ran again is late for another reason
            self._estimates.learn(batch.parts[0].request, answered_ns)

    def close(self) -> None:
        """Refuses new requests; workers get what waits, then None."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            self._spare_work.notify_all()

    def waiting_images(self) -> dict[ServedModel, int]:
        """How many images wait, by model."""
        with self._lock:
            return {model: queue.images for model, queue in self._queues.items()}

    def backlog_ms(self) -> float:
        """How long all that waits will take, as predicted."""
        with self._lock:
            return self._estimates.backlog_ns() / self._workers / 1e6

    def _by_waiting(self) -> Sequence[ServedModel]:
        """The models for which something waits, the longest wait first; `ModelQueue.due_ns` says how it is counted."""
        return list(self._queues) if len(self._queues) == 1 else sorted(self._queues, key=self._due_ns)

    def _due_ns(self, model: ServedModel) -> int:
        return self._queues[model].due_ns

    def _is_due(self, queue: ModelQueue) -> bool:
        """Whether a batch may leave now: always, unless --max-delay-us lets it wait for more images."""
        return (
            not self._max_delay_ns
            or self._closed
            or queue.images >= queue.model.cost.best_batch_size
            or time.monotonic_ns() - queue.waiting_since_ns >= self._max_delay_ns
        )

    def _next(self, reserve: bool = False) -> ServedModel | None:
        """The model that has waited longest, of those whose batch is due."""
        if not self._queues:
            return None
        if len(self._queues) == 1 and not self._max_delay_ns and not reserve:
            return next(iter(self._queues))
        return min(
            (
                model
                for model, queue in self._queues.items()
                if self._is_due(queue) and (not reserve or self._is_worth_a_core(queue))
            ),
            key=self._due_ns,
            default=None,
        )

    def _is_worth_a_core(self, queue: ModelQueue) -> bool:
        if self._closed or queue.images >= queue.model.cost.best_batch_size:
            return True
        return not self._running.get(queue.model) and self._running.total() >= self._ordinary_workers

    def _wait(self, reserve: bool) -> None:
        if reserve:
            self._idle_reserves += 1
            self._spare_work.wait()
            self._idle_reserves -= 1
        else:
            self.idle_workers += 1
            self._work.wait(self._delay_s())
            self.idle_workers -= 1

    def _wake(self) -> None:
        """Wakes a worker for what waits; a reserve only if no other is idle and it is worth that."""
        if not self._queues:
            return
        if self.idle_workers:
            self._work.notify()
        elif self._idle_reserves and self._next(reserve=True) is not None:
            self._spare_work.notify()

    def _delay_s(self) -> float | None:
        """Until the first batch is due; None if nothing waits."""
        if not self._queues:
            return None
        first_ns = min(queue.waiting_since_ns for queue in self._queues.values())
        return max(0.0, (first_ns + self._max_delay_ns - time.monotonic_ns()) / 1e9)

    def _form(self, model: ServedModel, reason: DispatchReason, dropped: Dropped) -> Batch:
        queue = self._queues[model]
        batch = queue.form(time.monotonic_ns(), reason, dropped)
        if queue.empty:
            del self._queues[model]
        return batch


def _tell(dropped: Dropped) -> None:
    for request, error in dropped:
        request.fail(error)
    dropped.clear()  # each error's stack holds this very list
