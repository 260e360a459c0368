"""The messages of covey.v1: images to requests, responses to what callers see. descriptions.py reads those that
describe models.

No network here, so that every kind of client shares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from covey import inputs
from covey.errors import ImageError, ImageTooLarge, InvalidImage, InvalidInput, NotFinite, ServerError
from covey.inputs import EncodedPart, PixelsPart
from covey.results import (
    Class,
    Classification,
    InputSize,
    Timing,
    make_class,
    make_classification,
    make_timing,
)
from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.wording import plural

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ResponseT]):
    """One method of the service: what a channel, sync or async, needs to call it."""

    path: str
    serialize: Callable[[RequestT], bytes]
    parse: Callable[[bytes], ResponseT]


CLASSIFY: Method[pb.ClassifyRequest, pb.ClassifyResponse] = Method(
    "/covey.v1.Classifier/Classify", pb.ClassifyRequest.SerializeToString, pb.ClassifyResponse.FromString
)
CLASSIFY_STREAM: Method[pb.ClassifyStreamRequest, pb.ClassifyStreamResponse] = Method(
    "/covey.v1.Classifier/ClassifyStream",
    pb.ClassifyStreamRequest.SerializeToString,
    pb.ClassifyStreamResponse.FromString,
)
LIST_MODELS: Method[pb.ListModelsRequest, pb.ListModelsResponse] = Method(
    "/covey.v1.Classifier/ListModels",
    pb.ListModelsRequest.SerializeToString,
    pb.ListModelsResponse.FromString,
)
GET_MODEL: Method[pb.GetModelRequest, pb.GetModelResponse] = Method(
    "/covey.v1.Classifier/GetModel", pb.GetModelRequest.SerializeToString, pb.GetModelResponse.FromString
)


class Answer(NamedTuple):
    """A response, who gave it, and how long the client waited for it."""

    response: pb.ClassifyResponse
    target: str
    round_trip_us: int


def answer_with_embeddings(response: pb.ClassifyResponse, target: str, round_trip_us: int) -> Answer:
    """An Answer to a request that asked for embeddings. Raises ServerError where there are none, as from a server that
    does not know them."""
    if not all(result.embedding or result.HasField("error") for result in response.results):
        raise ServerError(
            f"the server at {target} answered without the embeddings that were asked for, so it is older than they "
            f"are; update it",
            target,
        )
    return Answer(response, target, round_trip_us)


class ClassifyOptions(NamedTuple):
    """All of a request but its images."""

    model: str = ""
    version: int = 0
    top_k: int | None = None
    embedding: bool = False


class Classify:
    """One list of images, apart from its I/O: `requests` go out, their answers come back into `results`.

    `size` is the model's input size where images are to be made smaller before sending.

    Raises InvalidInput where the images or the options cannot be put into a request.
    """

    def __init__(self, images: object, options: ClassifyOptions, size: InputSize | None = None) -> None:
        self._options = options
        self._parts = inputs.read(images, size)
        self.requests = [request(part, options) for part in self._parts]

    @property
    def nbytes(self) -> int:
        """Of the images of the largest request."""
        return max(part.nbytes for part in self._parts)

    def split(self, max_bytes: int, image_bytes: int) -> None:
        """Spreads the images over more requests, of `max_bytes` each, sent and decoded (to `image_bytes` per image).

        Raises InvalidInput where one image alone has more.
        """
        self._parts = [piece for part in self._parts for piece in inputs.split(part, max_bytes, image_bytes)]
        self.requests = [request(part, self._options) for part in self._parts]

    def results(self, answers: Sequence[Answer]) -> list[Classification]:
        """One Classification per image, in the caller's order."""
        found = [
            classification
            for part, answer in zip(self._parts, answers, strict=True)
            for classification in classifications(part, answer)
        ]
        places = [place for part in self._parts for place in part.places]
        return [found[position] for position in sorted(range(len(found)), key=places.__getitem__)]


def request(part: EncodedPart | PixelsPart, options: ClassifyOptions) -> pb.ClassifyRequest:
    """Raises InvalidInput where the options cannot be put into a request."""
    try:
        message = pb.ClassifyRequest(
            model=options.model, version=options.version, top_k=options.top_k, embedding=options.embedding
        )
    except (TypeError, ValueError) as error:
        described = f"model {options.model!r}, version {options.version!r}, top_k {options.top_k!r}"
        if options.embedding:
            described += f", embedding {options.embedding!r}"
        raise InvalidInput(f"{described} cannot be sent ({error})") from error
    # Filled in place: a message given to the constructor would be copied, and its images with it.
    if isinstance(part, EncodedPart):
        message.encoded.images.extend(part.files)
    else:
        pixels = message.pixels
        pixels.data = part.data
        pixels.height = part.height
        pixels.width = part.width
        pixels.channels = part.channels
    return message


def require_sendable(options: ClassifyOptions) -> None:
    """Raises InvalidInput where the options cannot be put into a request."""
    request(EncodedPart((), (), ()), options)


def stream_request(
    name: str, part: EncodedPart | PixelsPart, options: ClassifyOptions, deadline_us: int
) -> pb.ClassifyStreamRequest:
    """A request as an element of a stream. Raises as `request`."""
    message = pb.ClassifyStreamRequest(id=name, deadline_us=deadline_us)
    message.request.CopyFrom(request(part, options))
    return message


def classification(part: EncodedPart | PixelsPart, answer: Answer) -> Classification:
    """The answer for the one image of `part`. Raises its InvalidImage or ImageTooLarge, else as `classifications`."""
    found = _classification(_results(part, answer)[0], part, 0, answer, _served(answer))
    if found.error is not None:
        raise found.error
    return found


def classifications(part: EncodedPart | PixelsPart, answer: Answer) -> list[Classification]:
    """The answers for the images of `part`, in its order. Raises ServerError where they cannot be."""
    served = _served(answer)
    return [
        _classification(result, part, position, answer, served)
        for position, result in enumerate(_results(part, answer))
    ]


def _results(part: EncodedPart | PixelsPart, answer: Answer) -> Sequence[pb.Result]:
    results = answer.response.results
    if len(results) != len(part.places):
        raise _broken_answer(answer, f"{plural(len(results), 'result')} for {plural(len(part.places), 'image')}")
    return results


def _served(answer: Answer) -> tuple[str, int, Timing, bool]:
    """What the images of a request share: model, version, timing, and whether labels are independent."""
    response, timing = answer.response, answer.response.timing
    return (
        response.model,
        response.version,
        make_timing(
            timing.total_us,
            timing.decode_us,
            timing.queue_us,
            timing.compute_us,
            timing.batch_size,
            timing.device,
            answer.round_trip_us,
        ),
        response.answer == pb.ModelInfo.ANSWER_INDEPENDENT,
    )


def _classification(
    result: pb.Result,
    part: EncodedPart | PixelsPart,
    position: int,
    answer: Answer,
    served: tuple[str, int, Timing, bool],
) -> Classification:
    classes = result.classes
    if result.HasField("error"):
        return Classification(_classes(classes), _image_error(result.error, part, position), *served)
    if not classes:
        if served[3]:
            return Classification((), None, *served, embedding=_embedding(result) if result.embedding else None)
        raise _broken_answer(answer, "a result of neither classes nor an error")
    # The message would keep the whole response alive, for as long as the caller keeps this one image's result.
    known = result.known if result.HasField("known") else None
    embedding = _embedding(result) if result.embedding else None
    unread = partial(_unread_classes, result.SerializeToString())
    return make_classification(_class(classes[0]), unread, *served, known, embedding)


def _embedding(result: pb.Result) -> NDArray[np.float32]:
    """Taken out of the message."""
    octets = result.embedding
    result.ClearField("embedding")
    return np.frombuffer(octets, "<f4").astype(np.float32, copy=False)


def _unread_classes(result: bytes) -> tuple[Class, ...]:
    return _classes(pb.Result.FromString(result).classes)


def _classes(classes: Iterable[pb.Class]) -> tuple[Class, ...]:
    return tuple([_class(one) for one in classes])


def _class(one: pb.Class) -> Class:
    return make_class(one.label, one.index, one.probability)


def not_sent(error: InvalidInput) -> Classification:
    """What stands for an image of `classify_many` that could not be sent."""
    return Classification((), error, "", 0, Timing(0, 0, 0, 0, 0, "", 0))


def _broken_answer(answer: Answer, what: str) -> ServerError:
    return ServerError(f"the server at {answer.target} answered {what}; this is a bug of the server", answer.target)


_IMAGE_ERRORS: Mapping[int, type[ImageError]] = {
    pb.ImageError.REASON_TOO_LARGE: ImageTooLarge,
    pb.ImageError.REASON_NO_ANSWER: NotFinite,
}


def _image_error(error: pb.ImageError, part: EncodedPart | PixelsPart, position: int) -> ImageError:
    name = part.names[position] if isinstance(part, EncodedPart) else ""
    kind = _IMAGE_ERRORS.get(error.reason, InvalidImage)
    return kind(f"{name}: {error.message}" if name else error.message)


def get_model_request(name: str, version: int) -> pb.GetModelRequest:
    """Raises InvalidInput where `name` or `version` cannot be put into a request."""
    try:
        return pb.GetModelRequest(name=name, version=version)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"model {name!r}, version {version!r} cannot be sent ({error})") from error
