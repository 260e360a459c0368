"""The steps that every protocol's requests share: admission, finding the model, decoding, queueing, answering.

Owns no thread and no queue, and knows no messages: a service parses the request and writes the answer.
"""

from __future__ import annotations

import logging
import math
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from covey_server.batching.admission import Admission
from covey_server.batching.batcher import Batcher
from covey_server.batching.limits import Limits
from covey_server.batching.request import Buffer, Request, raise_if_expired_or_cancelled
from covey_server.batching.worker import Workers
from covey_server.calls import late_refusals, status
from covey_server.calls.call import Call
from covey_server.calls.record import Record
from covey_server.calls.status import Status
from covey_server.errors import Overloaded, RequestError, is_late
from covey_server.images.decode_pool import Decoded, DecodePool, Steps
from covey_server.inference.served_model import ServedModel
from covey_server.models.repository import Repository
from covey_server.observability.metrics import Metrics
from covey_server.protocols.canaries import is_tried_again, may_try_again, second_try

log = logging.getLogger(__name__)

SMALL_ANSWER_BYTES = 65_536  # larger answers are counted before they are made


class Pipeline:
    """Shared by the services. Its methods return at once; answers come from the workers' threads.

    A service calls `admit` first. From then on the call is answered here, exactly once: by a request that the service
    puts into the batcher, by `prepare`, or by `fail`.
    """

    def __init__(
        self,
        repository: Repository,
        admission: Admission,
        batcher: Batcher,
        workers: Workers,
        decoders: DecodePool,
        metrics: Metrics,
        default_deadline_ms: int = 0,
        limits: Limits | None = None,
    ) -> None:
        """`limits`: of principals, if there are any."""
        self.limits = limits
        self.repository = repository
        self.admission = admission
        self.batcher = batcher
        self.workers = workers
        self._decoders = decoders
        self._metrics = metrics
        self.default_deadline_ns = default_deadline_ms * 1_000_000

    def admit(self, call: Call) -> None:
        """Lets a call in. Raises RequestTooLarge, Overloaded or Stopping: then it is not in, and already counted."""
        try:
            self.enter(call)
        except RequestError as error:
            self.add_hint(error)
            self._count_failure(call, None, error, status.of(error))
            raise

    def enter(self, call: Call) -> None:
        """As `admit`, for calls that are counted in another way."""
        if self.limits is None:
            self.admission.enter(call.size_bytes, call.peer)
            return
        self.limits.enter(call)
        try:
            self.admission.enter(call.size_bytes, call.peer)
        except RequestError:
            self.limits.give_back(call.account, 0)
            raise

    def charge(self, call: Call, images: int) -> None:
        """Counts images of a call that is in for its principal, before they are queued or decoded. Raises
        Overloaded."""
        if self.limits is not None and not is_tried_again(call):
            self.limits.charge(call, images)

    def require_room(self, call: Call, *, whatever_is_held: bool = False) -> None:
        """For calls that need no model run, and so are never let in. Raises RequestTooLarge or, unless
        `whatever_is_held`, Overloaded where the caller's unread answers leave no room."""
        try:
            if whatever_is_held:
                self.admission.require_size(call.size_bytes)
            else:
                self.admission.require_room(call.size_bytes, call.peer)
        except RequestError as error:
            self._metrics.count_refusal(error)
            raise

    def reserve_answer(self, call: Call, answer_bytes: int) -> None:
        """Counts an answer that will be large before the call waits. Raises RequestTooLarge or Overloaded."""
        if is_tried_again(call):
            return
        self.admission.enter_answer(answer_bytes, call.peer)
        call.size_bytes += answer_bytes

    def prepare(
        self,
        call: Call,
        model: ServedModel,
        images: int,
        steps: Steps[Request | bytes | None],
        answer_bytes: int = 0,
    ) -> None:
        """Takes `steps` on threads of the decode pool. They return a request, which is queued; or bytes, which are the
        answer if no image is left to run; or None if they have handed the call on. `answer_bytes` is how large the
        answer can be.

        Raises RequestTooLarge or Overloaded.
        """
        self.charge(call, images)
        if is_tried_again(call):
            self.admission.enter_decoding_again(images, call.peer)
        else:
            decoded_bytes = images * model.image_bytes
            self.admission.enter_decoding(images, decoded_bytes, call.peer)
            call.size_bytes += decoded_bytes
        if answer_bytes > SMALL_ANSWER_BYTES:
            try:
                self.reserve_answer(call, answer_bytes)
            except RequestError:
                self.admission.leave_decoding(images, call.peer)
                raise
        self._decoders.submit(self._prepare(call, model, images, steps), call.peer, images=images)

    def decode(
        self, call: Call, model: ServedModel, images: Sequence[bytes], *, all_or_none: bool = False
    ) -> Steps[Decoded]:
        """Decodes images on threads of the pool, and counts them: their sizes, and why others cannot be read. With
        `all_or_none` it stops at the first of those.

        Raises Cancelled or Expired if nobody waits for the answer any more.
        """
        wanted = partial(self.require_wanted, call)
        decoded = yield from self._decoders.decode(images, model.input, wanted, all_or_none)
        self._metrics.count_decoded(model, decoded.pixels, decoded.failures)
        return decoded

    def succeed(self, call: Call, payload: bytes) -> None:
        """Answers a call whose batch the metrics have counted."""
        # Before the reply, so that no caller sees gauges that still count its call.
        self.admission.leave(call.size_bytes, call.peer, len(payload) if call.holds_answer else 0)
        if self.limits is not None:
            self.limits.leave((call.account,))
        call.reply(payload)

    def reply(self, call: Call, payload: bytes) -> None:
        """Answers a call that was never let in, since it needs no model run."""
        if call.holds_answer:
            self.admission.hold(len(payload), call.peer)
        call.reply(payload)

    def fail(self, call: Call, model: ServedModel | None, error: Exception, *, is_counted: bool = True) -> None:
        """Answers a call that was let in with the status of an error. If a canary failed or had no time, the served
        version gets the call instead, as far as there is time, and that counts against the canary. `is_counted`:
        whether what the call takes was counted (`prepare`, or `charge` and `reserve_answer`) before it failed."""
        again = None if model is None else second_try(call, error, self.deadline_of(call), is_counted=is_counted)
        if model is None or again is None:
            self.fail_counted(call, error, partial(self._count_failure, call, model))
            return
        if is_late(error):
            self._metrics.count_late(model)
        else:
            self._metrics.count_passed_on(model)
        again(call)
        if call.refused and is_late(error):  # the served version has no time either, and both will be asked again
            self._metrics.count_late(model, -1)
        self.workers.dispatch(inline=False)

    def fail_counted(self, call: Call, error: Exception, count: Callable[[Exception, Status], None]) -> None:
        """As `fail`, for calls that are counted in another way."""
        self.add_hint(error)
        answer = status.of(error)
        if answer is status.INTERNAL:
            log.error("a request failed; this is a bug", exc_info=error)
        count(error, answer)
        self.admission.leave(call.size_bytes, call.peer)
        self._leave_limits(call, error)
        late_refusals.fail(call, error, answer)

    def refuse(self, calls: Sequence[Call], error: Overloaded, model: ServedModel) -> None:
        """As `fail`, for calls of one size that are refused alike."""
        if is_late(error):
            self._metrics.count_late(model, len(calls))
        self.admission.leave_together(Counter(call.peer for call in calls), calls[0].size_bytes, {})
        for call in calls:
            self._leave_limits(call, error)
        self.turn_away(calls, error, model)

    def turn_away(self, calls: Sequence[Call], error: Overloaded, model: ServedModel | None) -> None:
        """Refuses calls alike that are not in. `model` counts them, if one is given."""
        self.add_hint(error)
        answer = status.of(error)
        self._metrics.count_refusal(error, len(calls))
        self._metrics.count_answer(model, answer.name, calls[0].peer, len(calls))
        for call in calls:
            late_refusals.fail(call, error, answer)

    def deadline_of(self, call: Call) -> int | None:
        """When the answer must be there, by time.monotonic_ns: the caller's deadline or the server's default."""
        if call.deadline_ns is None and self.default_deadline_ns:
            return call.arrived_ns + self.default_deadline_ns
        return call.deadline_ns

    def _leave_limits(self, call: Call, error: Exception) -> None:
        if self.limits is None:
            return
        if isinstance(error, RequestError) and error.refused_for is not None:
            self.limits.give_back(call.account, call.charged_images)
        else:
            self.limits.leave((call.account,))

    def _prepare(
        self, call: Call, model: ServedModel, images: int, steps: Steps[Request | bytes | None]
    ) -> Steps[None]:
        try:
            try:
                made = yield from steps
            finally:  # before the answer, whose caller may send the next images at once
                self.admission.leave_decoding(images, call.peer)
            if isinstance(made, Request):
                # While others are decoded, a worker gathers what is done: in batches of one, run here, 28 x 28 images
                # took twice the CPU (32 in flight, medians of 7 rounds by turns, 2 shared AMD EPYC cores, 2026-11-30).
                self.workers.submit(made, inline=not self.admission.decodes)
            elif made is not None:
                self._metrics.count_answer(model, "OK", call.peer)
                self.succeed(call, made)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
            self.fail(call, model, error)

    def _count_failure(self, call: Call, model: ServedModel | None, error: Exception, answer: Status) -> None:
        if isinstance(error, Overloaded) and call.waits_for_room:
            return  # it is tried again
        self._metrics.count_refusal(error)
        self._metrics.count_answer(model, answer.name, call.peer)
        if model is not None and is_late(error):
            self._metrics.count_late(model)

    def add_hint(self, error: Exception) -> None:
        """Tells callers of an overloaded server when to try again: when all that waits now should be done."""
        if isinstance(error, Overloaded) and error.retry_after_ms is None:
            error.retry_after_ms = max(1, math.ceil(self.batcher.backlog_ms()))

    def require_wanted(self, call: Call) -> None:
        """Raises Cancelled or Expired if nobody waits for the answer any more."""
        raise_if_expired_or_cancelled(call.cancelled, call.arrived_ns, self.deadline_of(call), time.monotonic_ns())


class PipelineRequest(Request):
    """A call's images in the queue. A service subclasses it to write the answer."""

    __slots__ = ("_call", "_pipeline", "_top_k", "_writer")
    _writer: Any  # of the protocol's own type

    def __init__(
        self, pipeline: Pipeline, call: Call, model: ServedModel, writer: object, top_k: int, rows: Buffer, count: int
    ) -> None:
        """`writer` is what the protocol has prepared for the model's answers; `top_k` how many classes per image the
        caller wants, as the protocol counts them."""
        deadline_ns = call.deadline_ns
        if deadline_ns is None:
            deadline_ns = pipeline.deadline_of(call)
        # super() would double the cost of this call
        Request.__init__(self, model, rows, count, call.arrived_ns, deadline_ns, call.peer)
        if pipeline.limits is not None:
            self.gives_way = call.account.is_batch
        self._pipeline = pipeline
        self._call = call
        self._writer = writer
        self._top_k = top_k

    @property
    def cancelled(self) -> bool:
        return self._call.cancelled

    @property
    def is_on_trial(self) -> bool:
        return may_try_again(self._call)

    @abstractmethod
    def write(self, rows: Sequence[Buffer]) -> bytes:
        """The answer's message, from what `write_rows` gave for all images."""

    def succeed(self, rows: Sequence[Buffer]) -> None:
        if self._call.record is not None:
            self._show(self._call.record)
        try:
            payload = self.write(rows)
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            self.fail(error)
        else:
            self._pipeline.succeed(self._call, payload)

    def fail(self, error: Exception) -> None:
        if self._call.record is not None:
            self._show(self._call.record)
        self._pipeline.fail(self._call, self.model, error)

    def _show(self, record: Record) -> None:
        """Shows in the call's record how far this request came."""
        record.model, record.version, record.images = self.model.name, self.model.version, self.count
        record.batch_size, record.queued_ns = self.batch_size, self.queued_ns
        record.started_ns, record.computed_ns = self.started_ns, self.computed_ns
