"""/v1/about: what a page cannot know of the server that it came from."""

from __future__ import annotations

from covey_proto import __version__
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.protocols.rest import json_text


class AboutRoute:
    """Says the server's version, and at which port it takes gRPC."""

    def __init__(self, grpc_port: int) -> None:
        self._answer = json_text.compact({"name": "covey", "version": __version__, "grpc_port": grpc_port})

    @property
    def routes(self) -> tuple[Route, ...]:
        return (Route(("GET",), "/v1/about", for_http(self._tell)),)

    def _tell(self, call: HttpCall) -> None:
        call.reply(self._answer)
