"""Everything that can go wrong, as types without transport words; status.py maps them to gRPC codes.

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from typing import Literal, get_args

RefusalReason = Literal[
    "calls", "bytes", "decode", "share", "message_size", "answer_size", "stopping", "deadline", "token"
]
REFUSAL_REASONS: tuple[RefusalReason, ...] = get_args(RefusalReason)


class CoveyServerError(Exception):
    """The root of all errors of the server's own."""


class RequestError(CoveyServerError):
    """One request cannot be answered; the server itself is well."""

    def __init__(self, message: str = "", *, refused_for: RefusalReason | None = None) -> None:
        """`refused_for`: why the request was refused before it waited, for the metrics; None: it was not."""
        super().__init__(message)
        self.refused_for = refused_for


class InvalidRequest(RequestError):
    """The request contradicts itself, the model or the contract."""


class Unsupported(RequestError):
    """Something that a protocol knows and this server does not do."""


class UnknownModel(RequestError):
    """No model, or no version of it, of the asked name is served."""


class Unauthenticated(RequestError):
    """The server wants a token, and the call brought none that is valid."""


class ManagementOff(RequestError):
    """Models are not loaded or unloaded by calls: the server was not started so."""


class LoadFailed(RequestError):
    """A model that a call asked to be loaded is refused, or a version of it."""


class InvalidImage(RequestError):
    """Encoded bytes that are not a whole image of a known format."""


class ImageTooLarge(RequestError):
    """An encoded image of more pixels, or more bytes once decoded, than the server has room for."""


class RequestTooLarge(RequestError):
    """A message of more bytes than the server takes."""


class Overloaded(RequestError):
    """More is waiting already than the server is allowed to hold, or than the request's deadline allows for."""

    def __init__(
        self, message: str, retry_after_ms: int | None = None, *, refused_for: RefusalReason | None = None
    ) -> None:
        super().__init__(message, refused_for=refused_for)
        self.retry_after_ms = retry_after_ms  # when there should be room again; None: not known yet


class DeadlineTooShort(RequestError):
    """The caller allows less time than the computation itself takes."""


class Expired(RequestError):
    """The caller's deadline passed, or cannot be met any more, before the images were computed."""


class Cancelled(RequestError):
    """The caller went away; nobody reads this answer."""


class Stopping(RequestError):
    """The server is shutting down and takes nothing new."""


class EngineFailed(RequestError):
    """The model's computation itself failed; not the caller's fault."""


class RefusedModel(CoveyServerError):
    """A model's file that cannot be served, or must not be."""


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
