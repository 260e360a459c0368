"""The messages of covey.v1.Classifier to and from the server's own types. Pure functions; what is wrong in a
request is found here, before anything waits."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.errors import ImageTooLarge, InvalidImage, InvalidRequest
from covey_server.repository import Refusal
from covey_server.served_model import ServedModel

DEFAULT_TOP_K = 5
ImageFailure = InvalidImage | ImageTooLarge


def parse_request(payload: bytes) -> pb.ClassifyRequest:
    """Raises InvalidRequest for bytes that are no ClassifyRequest."""
    try:
        return pb.ClassifyRequest.FromString(payload)
    except DecodeError as error:
        raise InvalidRequest(f"the {len(payload):,} bytes are not a covey.v1.ClassifyRequest: {error}") from error


def top_k_of(message: pb.ClassifyRequest, model: ServedModel) -> int:
    """How many classes the caller wants. Raises InvalidRequest outside 1 to the model's number of classes."""
    classes = len(model.labels)
    if not message.HasField("top_k"):
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= message.top_k <= classes:
        raise InvalidRequest(
            f"top_k is {message.top_k}; expected 1 to {classes}, the number of classes of model {model.name!r} "
            f"(leave it out for the best {min(DEFAULT_TOP_K, classes)})"
        )
    return message.top_k


def pixel_count(pixels: pb.Pixels, model: ServedModel) -> int:
    """How many images the pixels hold. Raises InvalidRequest where they are not whole images of the model's size."""
    height, width, channels = model.input_shape
    said = (pixels.height or height, pixels.width or width, pixels.channels or channels)
    if said != model.input_shape:
        raise InvalidRequest(
            f"pixels of height {said[0]}, width {said[1]}, {said[2]} channel(s) were sent; model {model.name!r} takes "
            f"height {height}, width {width}, {channels} channel(s). Resize them, or send encoded images, which the "
            f"server resizes"
        )
    size_bytes = len(pixels.data)
    count, rest = divmod(size_bytes, model.input.nbytes)
    if rest or not count:
        raise InvalidRequest(
            f"pixels.data has {size_bytes:,} bytes; model {model.name!r} expects n x {height} x {width} x {channels} "
            f"(height x width x channels), a multiple of {model.input.nbytes:,} bytes and at least one image"
        )
    return count


def write_response(
    model: ServedModel,
    request: Request,
    top_k: int,
    output: Output,
    first: int,
    failures: Sequence[ImageFailure | None],
) -> bytes:
    """The serialised ClassifyResponse: the rows of `output` from `first` on, with the failed images in their places.

    `failures` is empty where no image failed.
    """
    response = pb.ClassifyResponse(model=model.name, version=model.version)
    results, labels = response.results, model.labels
    indices, probabilities = output.top(top_k)
    row = first
    for failure in failures or [None] * request.count:
        if failure is not None:
            results.append(failed_image(failure))
            continue
        classes = results.add().classes
        for index, probability in zip(indices[row], probabilities[row], strict=True):
            classes.add(label=labels[index], index=index, probability=probability)
        row += 1
    arrived = request.arrived_ns
    # Differences of whole microseconds since arrival, so that the parts add up to the total exactly.
    decoded = (request.queued_ns - arrived) // 1000
    queued = (request.started_ns - arrived) // 1000
    computed = (request.computed_ns - arrived) // 1000
    timing = response.timing
    timing.total_us = computed
    timing.decode_us = decoded
    timing.queue_us = queued - decoded
    timing.compute_us = computed - queued
    timing.batch_size = request.batch_size
    timing.device = model.engine.device.name
    return response.SerializeToString()


def write_failures(model: ServedModel, failures: Sequence[ImageFailure], decode_us: int) -> bytes:
    """The serialised ClassifyResponse of a request none of whose images could be read."""
    response = pb.ClassifyResponse(model=model.name, version=model.version)
    response.results.extend(failed_image(failure) for failure in failures)
    response.timing.total_us = response.timing.decode_us = decode_us
    return response.SerializeToString()


def failed_image(failure: ImageFailure) -> pb.Result:
    too_large = isinstance(failure, ImageTooLarge)
    reason = pb.ImageError.REASON_TOO_LARGE if too_large else pb.ImageError.REASON_INVALID
    return pb.Result(error=pb.ImageError(reason=reason, message=str(failure)))


def served_model(model: ServedModel, *, is_default: bool, workers: int, max_message_bytes: int) -> pb.Model:
    """A model as ListModels and GetModel show it."""
    serving = pb.Serving(
        device=model.engine.device.name,
        provider=model.engine.device.provider,
        workers=workers,
        threads=model.engine.threads,
        max_batch_size=model.max_batch_size,
        max_message_bytes=max_message_bytes,
    )
    return pb.Model(
        name=model.name,
        version=model.version,
        state=pb.Model.STATE_READY,
        is_default=is_default,
        info=model.info,
        serving=serving,
    )


def refused_model(refusal: Refusal) -> pb.Model:
    """A version that is not served, with the reason."""
    return pb.Model(name=refusal.name, version=refusal.version, state=pb.Model.STATE_REFUSED, reason=refusal.reason)
