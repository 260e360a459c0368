"""The routes that choose versions: covey.v1's ChooseVersion, as POST /v1/models/NAME/promote?version=3 and others."""

from __future__ import annotations

from functools import partial

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.calls.service import Handler
from covey_server.errors import InvalidRequest
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.settings import MAX_INT, number, require_query

_ACTIONS = {
    "promote": pb.ChooseVersionRequest.ACTION_PROMOTE,
    "rollback": pb.ChooseVersionRequest.ACTION_ROLL_BACK,
    "canary": pb.ChooseVersionRequest.ACTION_CANARY,
    "shadow": pb.ChooseVersionRequest.ACTION_SHADOW,
}


class ChooseRoutes:
    """Hands over to the service covey.v1.Classifier."""

    def __init__(self, choose: Handler) -> None:
        self._handler = choose

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(
            Route(("POST",), f"/v1/models/{{model}}/{name}", for_http(partial(self._choose, action)))
            for name, action in _ACTIONS.items()
        )

    def _choose(self, action: pb.ChooseVersionRequest.Action, call: HttpCall) -> None:
        takes_version = action != pb.ChooseVersionRequest.ACTION_ROLL_BACK
        require_query(call, ("version",) if takes_version else ())
        if takes_version and "version" not in call.query:  # 0 takes a canary away, which should not be a slip
            raise InvalidRequest("the query names no version; expected ?version=NUMBER")
        version = number(call.query, "version", MAX_INT)
        request = pb.ChooseVersionRequest(model=call.arguments["model"], action=action, version=version)
        call.hand_over(self._handler, request.SerializeToString(), _write)


def _write(payload: bytes) -> bytes:
    return json_text.compact(json_text.as_dict(pb.ChooseVersionResponse.FromString(payload)))
