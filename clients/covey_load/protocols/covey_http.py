"""Covey's own protocol over HTTP/1.1, as the SDK speaks it: the same messages, posted to gRPC's paths."""

from __future__ import annotations

import math

from covey import messages
from covey.errors import from_rpc_error
from covey.failures import Failure
from covey.messages import Method, RequestT, ResponseT
from covey.over_http import answers
from covey_load.asking import ask
from covey_load.protocols.covey import CoveyProtocol, timing_of
from covey_load.wire.http1 import HttpRequest

_CONTENT_TYPE = ("Content-Type", answers.PROTOBUF)


class CoveyHttp(CoveyProtocol):
    calls_per_connection = 1
    read_timing = staticmethod(timing_of)

    def requests(self, bodies: list[tuple[str, bytes]]) -> list[HttpRequest]:
        remote = self._remote
        path = remote.prefix + self._path(messages.CLASSIFY.path)
        headers = [_CONTENT_TYPE, *remote.metadata]
        return [
            HttpRequest(remote.endpoint.authority, path, body, number, headers)
            for number, (_, body) in enumerate(bodies)
        ]

    def _call(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        remote = self._remote
        headers = [_CONTENT_TYPE, *remote.metadata]
        answer = ask(remote, "POST", self._path(method.path), method.serialize(request), headers)
        try:
            return answers.parsed(method.parse, answers.message(*answer))
        except Failure as failure:
            raise from_rpc_error(failure, remote.target, remote.deadline_ms) from failure

    def _path(self, path: str) -> str:
        return f"{path}?timeout_ms={math.ceil(self._remote.deadline_ms)}"
