"""The service covey.v1.Classifier: each request is let in, checked, decoded, queued and answered from here."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from google.protobuf.message import DecodeError

from covey_proto.v1 import classifier_pb2 as pb
from covey_server import messages, status
from covey_server.batching.admission import Admission
from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Request, refuse_obsolete
from covey_server.call import Call, Service
from covey_server.decoding import DecodePool
from covey_server.errors import InvalidRequest
from covey_server.messages import ImageFailure
from covey_server.metrics import Metrics
from covey_server.repository import Repository
from covey_server.served_model import ServedModel

log = logging.getLogger(__name__)

NAME: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class Classifier:
    """The service. Its methods return at once; answers come from the workers' threads."""

    def __init__(
        self,
        repository: Repository,
        admission: Admission,
        batcher: Batcher,
        decoders: DecodePool,
        metrics: Metrics,
        *,
        workers: int,
        default_deadline_ms: int = 0,
    ) -> None:
        self._repository = repository
        self._admission = admission
        self._batcher = batcher
        self._decoders = decoders
        self._metrics = metrics
        self._workers = workers
        self._default_deadline_ns = default_deadline_ms * 1_000_000

    @property
    def service(self) -> Service:
        handlers = {"Classify": self.classify, "ListModels": self.list_models, "GetModel": self.get_model}
        return Service(NAME, handlers)

    def classify(self, call: Call) -> None:
        """Classify."""
        try:
            self._admission.enter(call.size_bytes)
        except Exception as error:
            self._metrics.count_answer(None, status.of(error).name)
            raise
        model = None
        try:
            message = messages.parse_request(call.payload)
            call.payload = b""  # the message holds a copy; the bytes need not wait with it
            model = self._repository.find(message.model, message.version)
            top_k = messages.top_k_of(message, model)
            match message.WhichOneof("images"):
                case "pixels":
                    count = messages.pixel_count(message.pixels, model)
                    self._batcher.put(Classification(self, call, model, top_k, message.pixels.data, count))
                case "encoded" if message.encoded.images:
                    images = list(message.encoded.images)
                    decoded_bytes = len(images) * model.input.nbytes
                    self._admission.grow(decoded_bytes)
                    call.size_bytes += decoded_bytes
                    self._decoders.submit(partial(self._decode, call, model, top_k, images))
                case _:
                    raise InvalidRequest(
                        "the request holds no image; set encoded.images to JPEG, PNG, WebP or GIF files, or "
                        "pixels.data to raw pixels"
                    )
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
            self.fail(call, model, error)

    def list_models(self, call: Call) -> None:
        """ListModels."""
        self._admission.require_size(call.size_bytes)
        models = [self._describe(model) for model in self._repository.served]
        models += [messages.refused_model(refusal) for refusal in self._repository.refusals]
        models.sort(key=lambda model: (model.name, model.version))
        call.reply(pb.ListModelsResponse(models=models).SerializeToString())

    def get_model(self, call: Call) -> None:
        """GetModel."""
        self._admission.require_size(call.size_bytes)
        try:
            message = pb.GetModelRequest.FromString(call.payload)
        except DecodeError as error:
            raise InvalidRequest(f"not a covey.v1.GetModelRequest: {error}") from error
        refusal = self._repository.find_refusal(message.name, message.version)
        model = (
            messages.refused_model(refusal)
            if refusal is not None
            else self._describe(self._repository.find(message.name, message.version))
        )
        call.reply(pb.GetModelResponse(model=model).SerializeToString())

    def succeed(self, call: Call, payload: bytes) -> None:
        """Answers a call that was let in."""
        self._admission.leave(call.size_bytes)  # first, so that no caller is ahead of the gauges
        call.reply(payload)

    def fail(self, call: Call, model: ServedModel | None, error: Exception) -> None:
        """Answers a call that was let in with the status of an error."""
        answer = status.of(error)
        if answer is status.INTERNAL:
            log.error("a request failed; this is a bug", exc_info=error)
        self._metrics.count_answer(model, answer.name)
        self._admission.leave(call.size_bytes)
        call.fail(answer)

    def _decode(self, call: Call, model: ServedModel, top_k: int, images: Sequence[bytes]) -> None:
        """On a thread of the decode pool: decodes the images of one request and queues those that are good."""
        try:
            decoded = self._decoders.decode(images, model.input, partial(self._refuse_obsolete, call))
            failures = [failure for failure in decoded.failures if failure is not None]
            if failures:
                self._metrics.count_invalid_images(model, len(failures))
            if decoded.count:
                places = decoded.failures if failures else ()
                self._batcher.put(Classification(self, call, model, top_k, decoded.rows, decoded.count, places))
            else:
                decode_us = (time.monotonic_ns() - call.arrived_ns) // 1000
                self._metrics.count_answer(model, "OK")
                self.succeed(call, messages.write_failures(model, failures, decode_us))
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(call, model, error)

    def deadline_of(self, call: Call) -> int | None:
        """When the answer must be there, by time.monotonic_ns: the caller's deadline or the server's default."""
        if call.deadline_ns is None and self._default_deadline_ns:
            return call.arrived_ns + self._default_deadline_ns
        return call.deadline_ns

    def _refuse_obsolete(self, call: Call) -> None:
        """Raises Cancelled or Expired where nobody waits for the answer any more."""
        refuse_obsolete(call.cancelled, call.arrived_ns, self.deadline_of(call), time.monotonic_ns())

    def _describe(self, model: ServedModel) -> pb.Model:
        return messages.served_model(
            model,
            is_default=self._repository.is_default(model),
            workers=self._workers,
            max_message_bytes=self._admission.max_message_bytes,
        )


class Classification(Request):
    """A Classify request in the queue, with the way back to its caller."""

    __slots__ = ("_call", "_classifier", "_failures", "_served", "_top_k")

    def __init__(
        self,
        classifier: Classifier,
        call: Call,
        model: ServedModel,
        top_k: int,
        rows: Buffer,
        count: int,
        failures: Sequence[ImageFailure | None] = (),
    ) -> None:
        super().__init__(model, rows, count, call.arrived_ns, classifier.deadline_of(call))
        self._classifier = classifier
        self._call = call
        self._served = model
        self._top_k = top_k
        self._failures = failures

    @property
    def cancelled(self) -> bool:
        return self._call.cancelled

    def succeed(self, output: Output, first: int) -> None:
        try:
            payload = messages.write_response(self._served, self, self._top_k, output, first, self._failures)
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            self.fail(error)
        else:
            self._classifier.succeed(self._call, payload)

    def fail(self, error: Exception) -> None:
        self._classifier.fail(self._call, self._served, error)
