"""Which version of a model is the default one, the canary, the shadow: the request that chooses, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from covey.errors import InvalidInput
from covey.messages import Method
from covey_proto.v1 import classifier_pb2 as pb

Action = Literal["promote", "rollback", "canary", "shadow"]
ACTIONS: tuple[Action, ...] = get_args(Action)
_NUMBERS = {
    "promote": pb.ChooseVersionRequest.ACTION_PROMOTE,
    "rollback": pb.ChooseVersionRequest.ACTION_ROLL_BACK,
    "canary": pb.ChooseVersionRequest.ACTION_CANARY,
    "shadow": pb.ChooseVersionRequest.ACTION_SHADOW,
}
CHOOSE_VERSION: Method[pb.ChooseVersionRequest, pb.ChooseVersionResponse] = Method(
    "/covey.v1.Classifier/ChooseVersion",
    pb.ChooseVersionRequest.SerializeToString,
    pb.ChooseVersionResponse.FromString,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The versions of a model that are chosen now. A canary that the server has decided about is not there any more."""

    model: str
    default_version: int
    canary_version: int  # 0: none
    shadow_version: int  # 0: none


def request(action: Action, model: str, version: int) -> pb.ChooseVersionRequest:
    """The message. Raises InvalidInput for what cannot be put into one."""
    if action not in _NUMBERS:
        raise InvalidInput(f"the action {action!r} is not known; expected one of {', '.join(ACTIONS)}")
    try:
        return pb.ChooseVersionRequest(model=model, action=_NUMBERS[action], version=version)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"model {model!r} or version {version!r} cannot be sent: {error}") from error


def choice(response: pb.ChooseVersionResponse) -> Choice:
    """What the server answered."""
    return Choice(response.model, response.default_version, response.canary_version, response.shadow_version)
