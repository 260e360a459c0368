"""Covey's own protocol, covey.v1.Classifier. Its answers say where their time went."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from covey import descriptions, messages
from covey.errors import InvalidInput, ServerError
from covey.messages import Method, RequestT, ResponseT
from covey_load.payloads import Batch, Files
from covey_load.protocols.base import ModelInput, Protocol
from covey_load.timings import Timing
from covey_load.wire.frames import MESSAGE_PREFIX_BYTES, Request
from covey_load.wire.http1 import HttpRequest
from covey_proto.v1 import classifier_pb2 as pb

_CLASSIFY: Method[bytes, pb.ClassifyResponse] = Method(
    messages.CLASSIFY.path, lambda body: body, pb.ClassifyResponse.FromString
)


def read_timing(answer: bytes) -> Timing | None:
    """The timing in an answer with its gRPC prefix."""
    return timing_of(answer[MESSAGE_PREFIX_BYTES:])


def timing_of(answer: bytes) -> Timing | None:
    """The timing in an answer's message alone."""
    try:
        timing = pb.ClassifyResponse.FromString(answer).timing
    except DecodeError:
        return None
    return Timing(timing.decode_us, timing.queue_us, timing.compute_us, timing.total_us, timing.batch_size)


class CoveyProtocol(Protocol):
    read_timing = staticmethod(read_timing)

    def describe(self, model: str) -> ModelInput:
        response = self._call(messages.GET_MODEL, messages.get_model_request(model, 0))
        description = descriptions.model(response.model)
        if description.input is None or description.serving is None:
            raise ServerError(
                f"the server at {self._remote.target} does not serve {description.name!r}: {description.reason}"
            )
        facts = {
            "model": f"{description.name} version {description.version}",
            "device": f"{description.serving.device} ({description.serving.provider})",
            "workers": str(description.serving.workers),
            "largest batch": str(description.serving.max_batch_size),
        }
        return ModelInput(
            "", (description.input.height, description.input.width, description.input.channels), "UINT8", facts
        )

    def body(self, model: str, model_input: ModelInput, batch: Batch) -> bytes:
        if isinstance(batch, Files):
            return pb.ClassifyRequest(model=model, encoded=pb.EncodedImages(images=batch.contents)).SerializeToString()
        height, width, channels = model_input.shape
        pixels = pb.Pixels(data=batch.array.tobytes(), height=height, width=width, channels=channels)
        return pb.ClassifyRequest(model=model, pixels=pixels).SerializeToString()

    def requests(self, bodies: list[tuple[str, bytes]]) -> list[Request] | list[HttpRequest]:
        return self._remote.requests(messages.CLASSIFY.path, (body for _, body in bodies))

    def check(self, model: str, body: bytes) -> None:
        for result in self._call(_CLASSIFY, body).results:
            if result.HasField("error"):
                raise InvalidInput(f"the server cannot read an image of the payload: {result.error.message}")

    def _call(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        return self._remote.call(method, request)
