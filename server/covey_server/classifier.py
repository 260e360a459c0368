"""The service covey.v1.Classifier: each request is let in, checked, decoded, queued and answered from here."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
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
from covey_server.errors import InvalidRequest, Overloaded, RequestError
from covey_server.messages import ImageFailure
from covey_server.metrics import Metrics
from covey_server.models.catalog import Catalog
from covey_server.models.repository import Repository
from covey_server.served_model import ServedModel

log = logging.getLogger(__name__)

NAME: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class Classifier:
    """The service. Its methods return at once; answers come from the workers' threads."""

    def __init__(
        self,
        repository: Repository[ServedModel],
        admission: Admission,
        batcher: Batcher,
        decoders: DecodePool,
        metrics: Metrics,
        *,
        dispatch: Callable[[bool], None],
        workers: int,
        default_deadline_ms: int = 0,
    ) -> None:
        """`dispatch` begins what was queued; it is called once after each burst of calls."""
        self._repository = repository
        self._admission = admission
        self._batcher = batcher
        self._decoders = decoders
        self._metrics = metrics
        self._dispatch = dispatch
        self._workers = workers
        self._default_deadline_ns = default_deadline_ms * 1_000_000

    @property
    def service(self) -> Service:
        handlers = {"Classify": self.classify, "ListModels": self.list_models, "GetModel": self.get_model}
        return Service(NAME, handlers, self._dispatch)

    def classify(self, call: Call) -> None:
        """Classify."""
        try:
            self._admission.enter(call.size_bytes, call.peer)
        except RequestError as error:
            self._metrics.count_answer(None, status.of(error).name)
            self._with_hint(error)
            raise
        model = None
        try:
            message = messages.parse_request(call.payload)
            call.payload = b""  # the message holds a copy; the bytes need not wait with it
            model = self._repository.find(message.model, message.version)
            top_k = messages.top_k_of(message, model)
            match message.WhichOneof("images"):
                case "pixels":
                    rows, count = messages.pixel_rows(message.pixels, model)
                    self._batcher.put(Classification(self, call, model, top_k, rows, count))
                case "encoded" if message.encoded.images:
                    images = list(message.encoded.images)
                    decoded_bytes = len(images) * model.image_bytes
                    self._admission.enter_decoding(len(images), decoded_bytes, call.peer)
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
        catalog = self._repository.catalog
        models = [self._describe(catalog, model) for model in catalog.served]
        models += [messages.refused_model(refusal) for refusal in catalog.refusals]
        models.sort(key=lambda model: (model.name, model.version))
        call.reply(pb.ListModelsResponse(models=models).SerializeToString())

    def get_model(self, call: Call) -> None:
        """GetModel."""
        self._admission.require_size(call.size_bytes)
        try:
            message = pb.GetModelRequest.FromString(call.payload)
        except DecodeError as error:
            raise InvalidRequest(f"not a covey.v1.GetModelRequest: {error}") from error
        catalog = self._repository.catalog
        refusal = catalog.find_refusal(message.name, message.version)
        model = (
            messages.refused_model(refusal)
            if refusal is not None
            else self._describe(catalog, catalog.find(message.name, message.version))
        )
        call.reply(pb.GetModelResponse(model=model).SerializeToString())

    def succeed(self, call: Call, payload: bytes) -> None:
        """Answers a call that was let in."""
        self._admission.leave(call.size_bytes, call.peer)  # first, so that no caller is ahead of the gauges
        call.reply(payload)

    def fail(self, call: Call, model: ServedModel | None, error: Exception) -> None:
        """Answers a call that was let in with the status of an error."""
        self._with_hint(error)
        answer = status.of(error)
        if answer is status.INTERNAL:
            log.error("a request failed; this is a bug", exc_info=error)
        self._metrics.count_answer(model, answer.name)
        self._admission.leave(call.size_bytes, call.peer)
        call.fail(answer)

    def _decode(self, call: Call, model: ServedModel, top_k: int, images: Sequence[bytes]) -> None:
        """On a thread of the decode pool: decodes the images of one request and queues those that are good."""
        try:
            try:
                decoded = self._decoders.decode(images, model.input, partial(self._refuse_obsolete, call))
            finally:
                self._admission.leave_decoding(len(images))
            failures = [failure for failure in decoded.failures if failure is not None]
            if failures:
                self._metrics.count_invalid_images(model, len(failures))
            if decoded.count:
                places = decoded.failures if failures else ()
                self._batcher.put(Classification(self, call, model, top_k, decoded.rows, decoded.count, places))
                self._dispatch(True)
            else:
                decode_us = (time.monotonic_ns() - call.arrived_ns) // 1000
                self._metrics.count_answer(model, "OK")
                results = messages.write_results((), 0, 0, decoded.failures)
                self.succeed(call, model.responses.write(results, decode_us, decode_us, 0, 0))
        except Exception as error:  # noqa: BLE001 - as above
            self.fail(call, model, error)

    def _with_hint(self, error: Exception) -> None:
        """Tells callers of an overloaded server when to try again: once what waits now should be done."""
        if isinstance(error, Overloaded) and error.retry_after_ms is None:
            error.retry_after_ms = max(1, math.ceil(self._batcher.backlog_ms()))

    def deadline_of(self, call: Call) -> int | None:
        """When the answer must be there, by time.monotonic_ns: the caller's deadline or the server's default."""
        if call.deadline_ns is None and self._default_deadline_ns:
            return call.arrived_ns + self._default_deadline_ns
        return call.deadline_ns

    def _refuse_obsolete(self, call: Call) -> None:
        """Raises Cancelled or Expired where nobody waits for the answer any more."""
        refuse_obsolete(call.cancelled, call.arrived_ns, self.deadline_of(call), time.monotonic_ns())

    def _describe(self, catalog: Catalog[ServedModel], model: ServedModel) -> pb.Model:
        return messages.served_model(
            model,
            is_default=catalog.is_default(model),
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
            responses, arrived_ns = self._served.responses, self.arrived_ns
            results = responses.results(output, self._top_k)
            # Differences of whole microseconds since arrival, so that the parts add up to the total exactly.
            decode_us = (self.queued_ns - arrived_ns) // 1000
            payload = responses.write(
                messages.write_results(results, first, self.count, self._failures),
                (self.computed_ns - arrived_ns) // 1000,
                decode_us,
                (self.started_ns - arrived_ns) // 1000 - decode_us,
                self.batch_size,
            )
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            self.fail(error)
        else:
            self._classifier.succeed(self._call, payload)

    def fail(self, error: Exception) -> None:
        self._classifier.fail(self._call, self._served, error)
