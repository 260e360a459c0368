"""A call: one gRPC request, or one message of a stream, as a front hands it over and a protocol answers it.

Payloads are bytes here; what they mean is the protocol's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

from covey_server.calls.account import Account
from covey_server.calls.record import Record
from covey_server.calls.status import Status

Buffer: TypeAlias = bytes | memoryview
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Protocol = Literal["grpc", "http"]  # by which callers come
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
HTTP_PEER = "http:"  # how the names of callers over HTTP begin


def protocol_of(peer: str) -> Protocol:
    """By which protocol a caller came."""
    return "http" if peer.startswith(HTTP_PEER) else "grpc"


def find_header(metadata: Metadata, name: str) -> str:
    """The first value of a text header; "" where there is none."""
    for key, value in metadata:
        if key == name and isinstance(value, str):
            return value
    return ""


class Call(ABC):
    """Answered exactly once, by `reply` or by `fail`, from any thread. Times are of time.monotonic_ns."""

    __slots__ = (
        "account", "again", "arrived_ns", "cancelled", "charged_images", "deadline_ns", "payload", "peer", "record",
        "size_bytes",
    )  # fmt: skip
    record: Record | None  # which fronts end with the answer
    account: Account  # of its principal, and the images that it was charged for; set while it is inside, if there are
    charged_images: int  # limits of principals
    # Set while a canary has the call: hands it to the served version if the canary fails or is too slow. None once it
    # has done so. Other calls do not have it.
    again: Callable[[Call], object] | None
    # Whether admission counts the answer until it is written, which needs a front that tells when.
    holds_answer = False
    refused = False  # as Overloaded, at the last attempt, and its front tries it again

    def __init__(self, payload: bytes, peer: str, arrived_ns: int, deadline_ns: int | None) -> None:
        self.payload = payload
        self.peer = peer  # the connection it came by
        self.size_bytes = len(payload)  # counted by admission for it; grows by decoded images and large answers
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False  # set by the front when the caller has gone
        self.record = None

    @property
    def asked(self) -> str:
        """What was asked for over HTTP: method and target, as they came. "" of gRPC's calls, whose method says it."""
        return ""

    @property
    def route(self) -> str:
        """The same with the path of the server's route, which is one of a closed set; "" where there is none."""
        return ""

    @property
    def request_id(self) -> str:
        """The caller's name for the call, x-request-id; over HTTP one is made where the caller gave none."""
        return self.header("x-request-id")

    @property
    def metadata(self) -> Metadata:
        """What the caller sent as metadata: names in lower case, each as often as it came. Values are text, or bytes
        where the name ends in "-bin". Empty for calls that bring none."""
        return ()

    @property
    def principal(self) -> str:
        """Who calls, as far as that was proven: "token:" and the first 12 digits of the token's SHA-256, or
        "certificate:" and the subject of the caller's certificate; "" where the server asks for neither."""
        return ""

    def header(self, name: str) -> str:
        """The first value of a text header, such as "traceparent" or "x-request-id"; "" where the caller sent none."""
        return find_header(self.metadata, name)

    @property
    def waits_for_room(self) -> bool:
        """Whether the front tries it again if it is refused as Overloaded now: then it is not counted as refused."""
        return False

    def forget_request(self) -> None:
        """Drops what is not needed once it is answered, where the call stays until its caller has read the answer."""
        self.payload = b""
        if hasattr(self, "again"):
            del self.again

    @abstractmethod
    def reply(self, payload: bytes) -> None:
        """Answers with a message."""

    @abstractmethod
    def fail(self, status: Status) -> None:
        """Answers with a status other than OK."""
