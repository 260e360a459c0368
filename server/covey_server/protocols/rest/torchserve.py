"""/predictions and /ping, as TorchServe answers them for an image_classifier: who moves changes a host name."""

from __future__ import annotations

from covey_proto import layout
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.calls.service import Handler
from covey_server.errors import InvalidRequest
from covey_server.observability.health import Health
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.classify import classify_request, raise_failure
from covey_server.protocols.rest.images import Images, read_images, slow_bytes
from covey_server.protocols.rest.large_bodies import LargeBodies, aside

_NAMES = ("data", "body")  # of the image, in forms and JSON
_ERROR_MEMBERS = ("code", "message")


class TorchServeRoutes:
    """Hands over to the service covey.v1.Classifier."""

    def __init__(self, classify: Handler, health: Health, large: LargeBodies) -> None:
        self._classify = classify
        self._health = health
        self._large = large

    @property
    def routes(self) -> tuple[Route, ...]:
        predict = for_http(aside(self._large, self._predict, slow_bytes))
        path = "/predictions/{model}"
        return (
            Route(("GET",), "/ping", for_http(self._ping), is_open=True),
            Route(("POST", "PUT"), path, predict, error_members=_ERROR_MEMBERS),
            Route(("POST", "PUT"), f"{path}/{{version}}", predict, error_members=_ERROR_MEMBERS),
        )

    def _predict(self, call: HttpCall) -> None:
        images = read_images(call, _NAMES)
        if len(images.files) != 1:
            raise InvalidRequest(
                f"{len(images.files)} files were sent; this path takes one, /v1/models/NAME/classify more"
            )
        images = Images(images.files, True, {})
        request = classify_request(call, images, version_number(call.arguments.get("version", "")))
        call.hand_over(self._classify, request.SerializeToString(), _write)

    def _ping(self, call: HttpCall) -> None:
        call.answer_status = 200 if self._health.ready else 503
        call.reply(json_text.compact({"status": "Healthy" if self._health.ready else "Unhealthy"}))


def version_number(text: str) -> int:
    """The version in a path; TorchServe writes "2.0" for what is 2 here. 0 if there is none. Raises InvalidRequest."""
    whole = text.removesuffix(".0")
    if not text:
        return 0
    if not layout.is_version(whole):
        raise InvalidRequest(f"version {text[:64]!r}: expected a whole number from 1 up")
    return int(whole)


def _write(payload: bytes) -> bytes:
    result = pb.ClassifyResponse.FromString(payload).results[0]
    raise_failure(result)
    pairs = ",\n".join(f"  {json_text.quoted(each.label)}: {each.probability:.9g}" for each in result.classes)
    return f"{{\n{pairs}\n}}".encode()
