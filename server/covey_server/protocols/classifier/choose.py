"""The method ChooseVersion: which version of a model is the default one, the canary, the shadow."""

from __future__ import annotations

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.call import Call
from covey_server.errors import ChoosingOff, InvalidRequest
from covey_server.models.choosing import Choice, Choosing
from covey_server.protocols.management import Management
from covey_server.protocols.parsing import parse
from covey_server.protocols.pipeline import Pipeline

_ACTIONS = "ACTION_PROMOTE, ACTION_ROLL_BACK, ACTION_CANARY, ACTION_SHADOW"


class ChooseMethod:
    """Answers on the thread that also loads and unloads models by calls."""

    def __init__(self, pipeline: Pipeline, management: Management | None) -> None:
        """`management` None: calls may not choose."""
        self._pipeline = pipeline
        self._management = management
        self._choosing = Choosing(pipeline.repository)

    def choose(self, call: Call) -> None:
        """ChooseVersion. Raises ChoosingOff, InvalidRequest, Overloaded, Stopping."""
        if self._management is None:
            raise ChoosingOff(
                "calls may not choose versions here: this server was started without --allow-management. Write the "
                "version's number into NAME/default-version, canary-version or shadow-version in the models folder"
            )
        self._pipeline.require_room(call, whatever_is_held=True)
        request = parse(pb.ChooseVersionRequest, call.payload)
        call.payload = b""
        _require_sense(request)

        def run(call: Call) -> None:
            chosen = self._run(request)
            answer = pb.ChooseVersionResponse(
                model=chosen.model,
                default_version=chosen.default,
                canary_version=chosen.canary,
                shadow_version=chosen.shadow,
            )
            call.reply(answer.SerializeToString())

        self._management.submit(run, call)

    def _run(self, request: pb.ChooseVersionRequest) -> Choice:
        match request.action:
            case pb.ChooseVersionRequest.ACTION_PROMOTE:
                return self._choosing.promote(request.model, request.version)
            case pb.ChooseVersionRequest.ACTION_ROLL_BACK:
                return self._choosing.roll_back(request.model)
            case pb.ChooseVersionRequest.ACTION_CANARY:
                return self._choosing.canary(request.model, request.version)
            case _:
                return self._choosing.shadow(request.model, request.version)


def _require_sense(request: pb.ChooseVersionRequest) -> None:
    if request.action not in pb.ChooseVersionRequest.Action.values() or not request.action:
        raise InvalidRequest(f"the request's action is {request.action}; expected one of {_ACTIONS}")
    if request.version < 0:
        raise InvalidRequest(f"the request's version is {request.version}; expected a whole number from 1 up")
    if request.action == pb.ChooseVersionRequest.ACTION_PROMOTE and not request.version:
        raise InvalidRequest("the request names no version; set the one that is to become the default one")
    if request.action == pb.ChooseVersionRequest.ACTION_ROLL_BACK and request.version:
        raise InvalidRequest(
            "the request names a version, and rolling back goes to the one before; to choose one, promote it"
        )
