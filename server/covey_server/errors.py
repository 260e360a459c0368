"""Everything that can go wrong, as exceptions that know no transport; calls/status.py maps them to gRPC's and HTTP's.

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, get_args

RefusalReason = Literal[
    "calls", "bytes", "decode", "share", "message_size", "answer_size", "stopping", "deadline", "token",
    "in_flight", "requests_per_s", "images_per_s",  # limits of the caller's principal
    "slow", "header_size", "media_type", "origin", "host", "malformed",  # by the HTTP front
]  # fmt: skip
REFUSAL_REASONS: tuple[RefusalReason, ...] = get_args(RefusalReason)
ImageFault = Literal[
    "empty", "unknown_format", "format_off", "unsupported", "damaged", "too_many_parts", "too_large", "memory",
]  # fmt: skip
IMAGE_FAULTS: tuple[ImageFault, ...] = get_args(ImageFault)


class CoveyServerError(Exception):
    """The base class of the server's own errors."""


class RequestError(CoveyServerError):
    """One request cannot be answered; the server itself works."""

    def __init__(self, message: str = "", *, refused_for: RefusalReason | None = None) -> None:
        """`refused_for`: why the request was refused before it waited, for the metrics; None: it was not."""
        super().__init__(message)
        self.refused_for = refused_for


class InvalidRequest(RequestError):
    """The request contradicts itself, the model or the protocol."""


class Unsupported(RequestError):
    """A feature of the protocol that this server does not have."""


class UnsupportedMediaType(Unsupported):
    """The request's body is compressed, or of a type that is not read here."""


class UnknownModel(RequestError):
    """The model, or the version of it, is not served."""


class Unauthenticated(RequestError):
    """The server requires a token, and the call has no valid one."""


class ManagementOff(RequestError):
    """Calls may not load or unload models: the server was started without --allow-management."""


class ChoosingOff(RequestError):
    """Calls may not choose versions: the server was started without --allow-management."""


class LoadFailed(RequestError):
    """A call asked to load a model that is refused, or the models folder cannot be read or written."""


class ChoiceRefused(RequestError):
    """A call chose a version that is there and cannot be served."""


class UndecodableImage(RequestError):
    """An encoded image cannot be decoded. Only its subclasses are raised."""

    def __init__(self, message: str, reason: ImageFault) -> None:
        """`reason`: why, for the metrics."""
        super().__init__(message)
        self.reason = reason

    def copy(self) -> Self:
        """The same without its traceback, whose frames keep alive what they hold."""
        return type(self)(str(self), self.reason)


class InvalidImage(UndecodableImage):
    """The bytes are not a complete image of a known format."""


class ImageTooLarge(UndecodableImage):
    """An encoded image has more pixels, or takes more memory to decode, than the server allows."""


class RequestTooLarge(RequestError):
    """A request, or its answer, would have more bytes than the server allows."""


class Overloaded(RequestError):
    """Too much is waiting already: for the server's limits, or for the request's deadline."""

    def __init__(
        self,
        message: str,
        retry_after_ms: int | None = None,
        *,
        refused_for: RefusalReason | None = None,
        principal: str = "",
        fail_late: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """`principal`: whose limit it is, by its name in the limits file; "": the server's. `fail_late` answers the
        call with the status; None: it is answered at once."""
        super().__init__(message, refused_for=refused_for)
        self.retry_after_ms = retry_after_ms  # when there should be room again; None: not known
        self.principal = principal
        self.fail_late = fail_late


class DeadlineTooShort(RequestError):
    """The deadline is shorter than the computation itself."""


class Expired(RequestError):
    """The caller's deadline passed, or cannot be met any more, before the images were computed."""


class Cancelled(RequestError):
    """The caller has gone; nobody reads the answer."""


class Stopping(RequestError):
    """The server is shutting down and accepts nothing new."""


class EngineFailed(RequestError):
    """The model's computation itself failed; not the caller's fault."""


def is_late(error: BaseException) -> bool:
    """Whether a request failed for lack of time: its deadline passed, or could not be met."""
    if isinstance(error, Overloaded):
        return error.refused_for == "deadline"
    return isinstance(error, (DeadlineTooShort, Expired))


class RefusedModel(CoveyServerError):
    """A model's file cannot be served, or must not be."""


class StartupError(CoveyServerError):
    """The server cannot start. Ends the process with `exit_code`."""

    exit_code = 1


class InvalidConfiguration(StartupError):
    exit_code = 2


class NoModels(StartupError):
    exit_code = 3


class DeviceUnavailable(StartupError):
    exit_code = 4


class PortUnavailable(StartupError):
    exit_code = 5
