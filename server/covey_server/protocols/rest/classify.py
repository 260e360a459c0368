"""The routes of /v1: covey.v1 in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.wire_format import DELIMITED, fields
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.calls.service import Handler
from covey_server.errors import EngineFailed, ImageTooLarge, InvalidImage, InvalidRequest, RequestError, RequestTooLarge
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.images import Images, read_images, slow_bytes
from covey_server.protocols.rest.large_bodies import LargeBodies, aside
from covey_server.protocols.rest.settings import MAX_INT, MAX_UINT32, flag, number, require_query
from covey_server.protocols.rest.tensors import MAX_JSON_OUTPUT_BYTES, write_data
from covey_server.system.threads import with_pauses

MAX_CLASSES = (
    65_536  # in one answer, of all its images: writing them in JSON takes 60 ms, in which no other thread runs
)
_FEW_BYTES = 65_536  # an answer up to this size has a few thousand classes at most
_DEFAULT_TOP_K = 5
_SETTINGS = ("top_k", "version", "embedding")
# The reasons are for metrics, which have counted the images already.
_ERRORS: dict[int, Callable[[str], RequestError]] = {
    pb.ImageError.REASON_INVALID: partial(InvalidImage, reason="damaged"),
    pb.ImageError.REASON_TOO_LARGE: partial(ImageTooLarge, reason="too_large"),
    pb.ImageError.REASON_NO_ANSWER: EngineFailed,
}


class ClassifyRoutes:
    """Hands over to the service covey.v1.Classifier."""

    def __init__(self, handlers: Mapping[str, Handler], large: LargeBodies) -> None:
        """`handlers` are the service's, by method."""
        self._handlers = handlers
        self._large = large

    @property
    def routes(self) -> tuple[Route, ...]:
        model = "/v1/models/{model}"
        classify = aside(self._large, self._classify, slow_bytes)
        return (
            Route(("GET",), "/v1/models", for_http(self._list)),
            Route(("GET",), model, for_http(self._get)),
            Route(("POST", "PUT"), f"{model}/classify", for_http(classify)),
        )

    def _classify(self, call: HttpCall) -> None:
        images = read_images(call, ("image",), "images", _SETTINGS)
        request = classify_request(call, images)
        # Of independent labels without top_k, any number may be answered.
        is_open_ended = not request.HasField("top_k") and len(images.files) > 1
        write = partial(
            _write_classified, is_one=images.is_one, is_open_ended=is_open_ended, has_embeddings=request.embedding
        )
        call.hand_over(self._handlers["Classify"], request.SerializeToString(), write)

    def _list(self, call: HttpCall) -> None:
        require_query(call, ())
        call.hand_over(self._handlers["ListModels"], b"", _write_models)

    def _get(self, call: HttpCall) -> None:
        require_query(call, ("version",))
        request = pb.GetModelRequest(name=call.arguments["model"], version=number(call.query, "version", MAX_INT))
        call.hand_over(self._handlers["GetModel"], request.SerializeToString(), _write_model)


def classify_request(call: HttpCall, images: Images, version: int | None = None) -> pb.ClassifyRequest:
    """The message of a request; `version` if its path has it, and the query may not. Raises InvalidRequest,
    RequestTooLarge."""
    require_query(call, _SETTINGS if version is None else ("top_k",))
    both = sorted(call.query.keys() & images.settings.keys())
    if both:
        raise InvalidRequest(f"{both[0]!r} is in the query and in the JSON; give it once")
    settings = {**call.query, **images.settings}
    if version is None:
        version = number(settings, "version", MAX_INT)
    request = pb.ClassifyRequest(model=call.arguments["model"], version=version)
    if "top_k" in settings:
        request.top_k = number(settings, "top_k", MAX_UINT32)
    request.embedding = flag(settings, "embedding")
    request.encoded.images.extend(images.files)
    classes = len(images.files) * (request.top_k if request.HasField("top_k") else _DEFAULT_TOP_K)
    if classes > MAX_CLASSES and len(images.files) > 1:
        raise _too_many_classes(f"would have up to {classes:,}")
    return request


def raise_failure(result: pb.Result) -> None:
    """Raises the error of an image, if it has one."""
    if result.HasField("error"):
        raise _ERRORS.get(result.error.reason, EngineFailed)(result.error.message)


def _too_many_classes(count: str) -> RequestTooLarge:
    return RequestTooLarge(
        f"the answer {count} classes, at most {MAX_CLASSES:,} are written in JSON; ask for fewer by top_k, send fewer "
        f"images per request, or use gRPC",
        refused_for="answer_size",
    )


def _require_few_classes(payload: bytes) -> None:
    """Counts an answer's classes before it is parsed. Raises RequestTooLarge."""
    count = 0
    for field, wire_type, start, stop in fields(payload, 0, len(payload)):
        if field == pb.ClassifyResponse.RESULTS_FIELD_NUMBER and wire_type == DELIMITED:
            for _ in fields(payload, start, stop):
                count += 1
                if count > MAX_CLASSES:
                    raise _too_many_classes(f"has more than {MAX_CLASSES:,}")


def _require_few_numbers(answer: pb.ClassifyResponse) -> None:
    """Raises RequestTooLarge where the embeddings are too many to be written."""
    size = sum(len(result.embedding) for result in answer.results)
    if size > MAX_JSON_OUTPUT_BYTES:
        raise RequestTooLarge(
            f"the answer's embeddings have {size:,} bytes, at most {MAX_JSON_OUTPUT_BYTES:,} are written in JSON; send "
            f"fewer images per request, or use gRPC",
            refused_for="answer_size",
        )


def _write_classified(payload: bytes, *, is_one: bool, is_open_ended: bool, has_embeddings: bool = False) -> bytes:
    if is_open_ended and len(payload) > _FEW_BYTES:
        _require_few_classes(payload)
    answer = pb.ClassifyResponse.FromString(payload)
    if is_one:
        raise_failure(answer.results[0])
    write = _result
    if has_embeddings:
        _require_few_numbers(answer)
        write = _result_with_embedding
    results = ",".join(map(write, with_pauses(answer.results)))
    rest = f'"model":{json_text.quoted(answer.model)},"version":{answer.version},"timing":{_timing(answer.timing)}'
    if answer.answer:
        rest += f',"answer":"{pb.ModelInfo.Answer.Name(answer.answer)}"'
    return f'{{"results":[{results}],{rest}}}'.encode()


def _timing(timing: pb.Timing) -> str:
    """As json_text would write it, in a fifth of the time."""
    return (
        f'{{"total_us":{timing.total_us},"decode_us":{timing.decode_us},"queue_us":{timing.queue_us},'
        f'"compute_us":{timing.compute_us},"batch_size":{timing.batch_size},"device":{json_text.quoted(timing.device)}}}'
    )


def _result(result: pb.Result) -> str:
    if result.HasField("error"):
        reason = pb.ImageError.Reason.Name(result.error.reason)
        return f'{{"error":{{"reason":"{reason}","message":{json_text.quoted(result.error.message)}}}}}'
    classes = ",".join(
        f'{{"label":{json_text.quoted(each.label)},"index":{each.index},"probability":{each.probability:.9g}}}'
        for each in result.classes
    )
    known = f',"known":{str(result.known).lower()}' if result.HasField("known") else ""
    return f'{{"classes":[{classes}]{known}}}'


def _result_with_embedding(result: pb.Result) -> str:
    text = _result(result)
    return f'{text[:-1]},"embedding":{write_data(result.embedding, "FP32")}}}' if result.embedding else text


@lru_cache(8)
def _write_models(payload: bytes) -> bytes:
    return json_text.compact(json_text.as_dict(pb.ListModelsResponse.FromString(payload)))


@lru_cache(8)
def _write_model(payload: bytes) -> bytes:
    return json_text.compact(json_text.as_dict(pb.GetModelResponse.FromString(payload).model))
