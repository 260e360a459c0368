"""All of a client that is not I/O: what is sent, to whom, how often, and what the answers mean.

Each operation is a generator of steps (steps.py). `Client` performs them by blocking, `AsyncClient` by awaiting: so
both behave alike, and nothing is written twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from covey import choosing, descriptions, downscaling, explaining, health, inputs, messages
from covey.addresses import Addresses
from covey.choosing import Action, Choice
from covey.connection import Deadline
from covey.errors import (
    CallError,
    DeadlineExceeded,
    HandshakeFailed,
    InvalidInput,
    InvalidRequest,
    Unavailable,
    UnknownModel,
    from_rpc_error,
)
from covey.explaining import ExplainOptions, Explanation
from covey.messages import Answer, Classify, ClassifyOptions, Method, RequestT, ResponseT
from covey.results import Classification, InputSize, Model
from covey.retries import Retries
from covey.security import Access
from covey.steps import Conversation, Converse, Pause, Send, Steps, Work
from covey_proto.v1 import classifier_pb2 as pb

MIN_LIMIT_BYTES = 1 << 16  # a smaller image is never blamed for its size, whatever refuses it
_LEARN_ABOVE_BYTES = 1 << 20  # a request smaller than that is sent without knowing the server's limit
_LEARNT_FOR_S = 60.0  # the server may be started anew, with other limits and other models
_MAX_LEARNT = 256  # models
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)  # answers of a server that fails by itself
_OVERHEAD_BYTES = 1_024  # of a request: all but its images
_READY_PAUSE_S = 0.1
_READY_CHECK_S = 2.0  # for one answer on health


class Session:
    """The state of one client. Safe from any thread. Raises InvalidInput for settings that cannot be."""

    def __init__(
        self, targets: Sequence[str], deadline_ms: float, retries: int, access: Access, *, downscale: bool
    ) -> None:
        """`targets` are normalised."""
        self.targets = targets
        access.require_safe(targets)
        self._tls = access.tls
        self._metadata_bytes = access.metadata_bytes
        self.target = ",".join(self.targets)
        self.deadline_ms = Deadline(deadline_ms).duration_ms
        if downscale:
            downscaling.require_pillow()
        self._downscale = downscale
        self._addresses = Addresses(len(self.targets))
        self._retries = Retries(retries)
        self._learnt: dict[tuple[str, int], tuple[Model, float]] = {}

    def start_afresh(self) -> None:
        """In a child process: other threads of the parent may have held the locks."""
        self._addresses = Addresses(len(self.targets))
        self._retries = Retries(self._retries.limit)

    def deadline(self, deadline_ms: float | None) -> Deadline:
        return Deadline(self.deadline_ms if deadline_ms is None else deadline_ms)

    def classify(
        self, images: object, options: ClassifyOptions, deadline_ms: float | None
    ) -> Steps[Classification | list[Classification]]:
        """As the clients' `classify`."""
        deadline = self.deadline(deadline_ms)
        size = (yield from self.input_size(options, deadline)) if self._downscale else None
        waits = size is not None or inputs.may_wait(images)
        if not inputs.is_many(images):
            part = (yield Work(lambda: inputs.read_one(images, size))) if waits else inputs.read_one(images)
            try:
                if part.nbytes > _LEARN_ABOVE_BYTES:
                    inputs.require_fits(part, (yield from self.max_bytes(options, deadline)))
                answer = yield from self.send(messages.request(part, options), deadline)
            except InvalidRequest:  # of a server with a lower limit?
                if part.nbytes > MIN_LIMIT_BYTES:
                    inputs.require_fits(part, (yield from self.max_bytes(options, deadline)))
                raise
            return messages.classification(part, answer)
        call = (yield Work(lambda: Classify(images, options, size))) if waits else Classify(images, options)
        return (yield from self._classify_list(call, options, deadline))

    def _classify_list(
        self, call: Classify, options: ClassifyOptions, deadline: Deadline
    ) -> Steps[list[Classification]]:
        if call.nbytes > _LEARN_ABOVE_BYTES:
            model = yield from self._learn(options, deadline)
            if model.serving is not None and model.serving.max_message_bytes and model.input is not None:
                one = model.input.height * model.input.width * model.input.channels
                call.split(model.serving.max_message_bytes - _OVERHEAD_BYTES, one)
        answers = []
        for request in call.requests:
            answers.append((yield from self.send(request, deadline)))
        return call.results(answers)

    def send(self, request: pb.ClassifyRequest, deadline: Deadline) -> Steps[Answer]:
        """One request of Classify and its answer."""
        make_answer = messages.answer_with_embeddings if request.embedding else Answer
        return self._call(messages.CLASSIFY, request, deadline, make_answer)

    def converse(self, conversation: Conversation) -> Steps[None]:
        """A conversation by one stream after the other, until all is answered. A stream that brought answers before it
        broke does not count as a failed attempt."""
        tried: set[int] = set()
        attempt = 1
        while True:
            place, answered = self._addresses.take(tried), conversation.answered
            try:
                yield Converse(place, conversation)
            except grpc.RpcError as failure:
                if conversation.answered > answered:
                    self._addresses.answered(place)
                    tried.clear()
                    attempt = 1
                duration_ms, remaining_s = conversation.duration_ms, conversation.remaining_s()
                pause_s = self._pause_after(failure, place, tried, attempt, duration_ms, remaining_s)
            else:
                self._addresses.answered(place)
                return
            finally:
                self._addresses.release(place)
            if pause_s:
                yield Pause(pause_s)
            attempt += 1

    def element_answered(self) -> None:
        """An element of a stream was answered: it earns a part of a later retry, as a call does."""
        self._retries.answered()

    def models(self, deadline_ms: float | None) -> Steps[list[Model]]:
        """As the clients' `models`."""
        deadline = self.deadline(deadline_ms)
        response = yield from self._call(messages.LIST_MODELS, pb.ListModelsRequest(), deadline)
        return [descriptions.model(model) for model in response.models]

    def model(self, name: str, version: int, deadline: Deadline) -> Steps[Model]:
        """As the clients' `model`."""
        request = messages.get_model_request(name, version)
        response = yield from self._call(messages.GET_MODEL, request, deadline)
        return descriptions.model(response.model)

    def choose(self, action: Action, model: str, version: int, deadline: Deadline) -> Steps[Choice]:
        """As the clients' `choose`."""
        request = choosing.request(action, model, version)
        return choosing.choice((yield from self._call(choosing.CHOOSE_VERSION, request, deadline)))

    def explain(self, image: object, options: ExplainOptions, deadline_ms: float | None) -> Steps[Explanation]:
        """As the clients' `explain`."""
        deadline = self.deadline(deadline_ms)
        if inputs.is_many(image):
            raise InvalidInput("one image is explained at a time; call explain for each of them")
        part = (yield Work(lambda: inputs.read_one(image))) if inputs.may_wait(image) else inputs.read_one(image)
        response = yield from self._call(explaining.EXPLAIN, explaining.request(part, options), deadline)
        return explaining.explanation(response)

    def wait_until_ready(self, deadline_ms: float | None) -> Steps[None]:
        """As the clients' `wait_until_ready`."""
        deadline = self.deadline(deadline_ms)
        last: CallError | None = None
        reason = "that it is not ready"
        remaining_s = deadline.remaining_s()
        while True:
            place = self._addresses.take()
            target = self.targets[place]
            try:
                found = yield Send(place, health.CHECK, health.SERVER, min(remaining_s, _READY_CHECK_S))
            except grpc.RpcError as failure:
                last = from_rpc_error(failure, target, deadline.duration_ms, tls=self._tls)
                for_good = isinstance(last, HandshakeFailed) and len(self.targets) == 1
                if for_good or not isinstance(last, Unavailable | DeadlineExceeded):
                    raise last from failure
                last.__cause__ = failure
                self._addresses.failed(place)
            else:
                last = None
                if found is health.Health.SERVING:
                    self._addresses.answered(place)
                    return
            finally:
                self._addresses.release(place)
            yield Pause(min(_READY_PAUSE_S, deadline.remaining_s()))
            if (remaining_s := deadline.remaining_s()) <= _READY_PAUSE_S / 10:
                break
        target = ", ".join(self.targets)
        raise DeadlineExceeded(
            f"{target} is not ready after {deadline.duration_ms:g} ms; the last attempt said {last or reason}",
            target,
            grpc.StatusCode.DEADLINE_EXCEEDED.name,
            last.details if last else reason,
        ) from last

    def input_size(self, options: ClassifyOptions, deadline: Deadline) -> Steps[InputSize | None]:
        """The model's input size, to which images are downscaled before sending; None where `downscale` is off."""
        if not self._downscale:
            return None
        return (yield from self._learn(options, deadline)).input

    def max_bytes(self, options: ClassifyOptions, deadline: Deadline) -> Steps[float]:
        """How many bytes of images the server takes in one request, as far as it can be known."""
        try:
            serving = (yield from self._learn(options, deadline)).serving
        except UnknownModel:
            return math.inf  # the request itself will be told so
        return serving.max_message_bytes - _OVERHEAD_BYTES if serving and serving.max_message_bytes else math.inf

    def _learn(self, options: ClassifyOptions, deadline: Deadline) -> Steps[Model]:
        """The model that will answer, as the server described it a short time ago."""
        key = (options.model, options.version)
        model, until_s = self._learnt.get(key, (None, 0.0))
        if model is None or until_s < time.monotonic():
            model = yield from self.model(options.model, options.version, deadline)
            if len(self._learnt) >= _MAX_LEARNT:
                self._learnt.clear()
            self._learnt[key] = (model, time.monotonic() + _LEARNT_FOR_S)
        return model

    def _call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        deadline: Deadline,
        made: Callable[[Any, str, int], Any] = lambda response, target, round_trip_us: response,
    ) -> Steps[Any]:
        """One call, tried again where that helps. Gives `made(response, target, round trip in us)`."""
        tried: set[int] = set()
        attempt = 1
        while True:
            place = self._addresses.take(tried)
            target = self.targets[place]
            sent_ns = time.perf_counter_ns()
            try:
                response = yield Send(place, method, request, deadline.remaining_s())
            except grpc.RpcError as failure:
                remaining_s = deadline.remaining_s()
                pause_s = self._pause_after(failure, place, tried, attempt, deadline.duration_ms, remaining_s)
            else:
                round_trip_us = (time.perf_counter_ns() - sent_ns) // 1_000
                self._addresses.answered(place)
                self._retries.answered()
                return made(response, target, round_trip_us)
            finally:
                self._addresses.release(place)
            if pause_s:
                yield Pause(pause_s)
            attempt += 1

    def _pause_after(
        self, failure: grpc.RpcError, place: int, tried: set[int], attempt: int, duration_ms: float, remaining_s: float
    ) -> float:
        """How long to wait before the next attempt; `tried` then says where not to make it. Raises the CallError where
        there is none."""
        error = from_rpc_error(failure, self.targets[place], duration_ms, attempt, self._tls, self._metadata_bytes)
        # One that fails fast has the fewest calls, and would get all.
        if isinstance(error, Unavailable) or failure.code() in _BROKEN:
            self._addresses.failed(place)
        tried.add(place)
        elsewhere = self._addresses.has_other(tried)
        pause_s = self._retries.pause_s(error, attempt, remaining_s, elsewhere=elsewhere)
        if pause_s is None:
            raise error from failure
        if not elsewhere:
            tried.clear()
        return pause_s
