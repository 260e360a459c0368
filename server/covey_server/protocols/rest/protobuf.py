"""gRPC's unary methods over HTTP, for the SDK and other generated code: the same path, the same messages. A message is
posted to /covey.v1.Classifier/Classify and answered by a message. Errors are problems, as everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from covey_server.calls.http import HttpBurst, HttpCall, Route, Written, bursts_for_http, for_http
from covey_server.calls.service import BurstHandler, Handler, Service, handle
from covey_server.errors import InvalidRequest, UnsupportedMediaType
from covey_server.observability.health import Health

KINDS = ("application/x-protobuf", "application/protobuf", "application/proto")
HEALTH_PATH = "/grpc.health.v1.Health/Check"
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # a HealthCheckResponse: its field 1


class ProtobufRoutes:
    """Hands over to a service as it is, and tells the health of the server as a whole."""

    def __init__(self, service: Service, health: Health) -> None:
        self._service = service
        self._health = health

    @property
    def routes(self) -> tuple[Route, ...]:
        together = self._service.burst_paths
        return (
            *(_route(path, handler, together.get(path)) for path, handler in self._service.paths.items()),
            Route(("POST",), HEALTH_PATH, for_http(partial(_pass_on, for_http(self._check))), is_open=True),
        )

    def _check(self, call: HttpCall) -> None:
        if call.payload:
            raise InvalidRequest("the health of single services is told over gRPC only; send an empty message")
        call.reply(_SERVING if self._health.ready else _NOT_SERVING)


def _route(path: str, handler: Handler, burst_handler: BurstHandler | None) -> Route:
    alone = for_http(partial(_pass_on, handler))
    if burst_handler is None:
        return Route(("POST",), path, alone)
    return Route(("POST",), path, alone, burst_handler=bursts_for_http(partial(_pass_all_on, alone, burst_handler)))


def _pass_on(handler: Handler, call: HttpCall) -> None:
    call.answer_type = _kind(call.header("content-type"))
    handler(call)


def _pass_all_on(alone: Handler, handler: BurstHandler, burst: HttpBurst, at_once: bool) -> None:
    try:
        kind = _kind(burst.header("content-type"))
    except UnsupportedMediaType:
        for call in burst.calls():
            handle(alone, call)
        return

    def settle(call: HttpCall) -> None:
        call.answer_type = kind

    def write(payloads: Sequence[bytes]) -> Written:
        return Written(kind, (), payloads)

    burst.hand_over(handler, at_once, burst.payloads, settle, write)


def _kind(kind: str) -> str:
    """The content type, if it is one of messages. Raises UnsupportedMediaType."""
    if kind not in KINDS:
        kind = kind.partition(";")[0].strip().lower()
        if kind not in KINDS:
            raise UnsupportedMediaType(
                f"bodies of the type {kind[:64]!r} are not read here; expected a protobuf message as {KINDS[0]}; for "
                f"files and JSON there is /v1/models/NAME/classify"
            )
    return kind
