"""The tables from the server's errors to gRPC's status codes and to those of HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from covey_server import errors


@dataclass(frozen=True, slots=True)
class Status:
    """A gRPC status code (https://grpc.io/docs/guides/status-codes/) and its message."""

    code: int
    message: str
    retry_after_ms: int | None = None
    http: int = 500  # the status over HTTP

    @property
    def name(self) -> str:
        return NAMES[self.code]

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...] | None:
        """Tells the client when to try again. (gRPC's own name for that, grpc-retry-pushback-ms, is reserved by the
        native front's library.)"""
        return None if self.retry_after_ms is None else ((RETRY_AFTER, str(self.retry_after_ms)),)


RETRY_AFTER = "retry-after-ms"
NAMES = {
    0: "OK",
    1: "CANCELLED",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}

CODES: dict[type[errors.RequestError], int] = {
    errors.InvalidRequest: 3,
    errors.InvalidImage: 3,
    errors.ImageTooLarge: 3,
    errors.UnknownModel: 5,
    errors.Unsupported: 12,
    errors.UnsupportedMediaType: 12,
    errors.RequestTooLarge: 3,  # not RESOURCE_EXHAUSTED, which says: not now
    errors.Overloaded: 8,
    errors.DeadlineTooShort: 4,
    errors.Expired: 4,
    errors.Cancelled: 1,
    errors.Stopping: 14,
    errors.EngineFailed: 13,
    errors.Unauthenticated: 16,
    errors.ManagementOff: 14,  # as Triton answers, though no later try helps
    errors.ChoosingOff: 7,
    errors.LoadFailed: 13,  # as Triton answers
    errors.ChoiceRefused: 9,  # not 13: the server works, and the SDK leaves out one that fails
}

# https://www.rfc-editor.org/rfc/rfc9110#name-status-codes; 499 is nginx's, for a caller who has gone and reads nothing.
HTTP_STATUSES: dict[type[errors.RequestError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidImage: 422,
    errors.ImageTooLarge: 413,
    errors.UnknownModel: 404,
    errors.Unsupported: 501,
    errors.UnsupportedMediaType: 415,
    errors.RequestTooLarge: 413,
    errors.Overloaded: 429,
    errors.DeadlineTooShort: 504,
    errors.Expired: 504,
    errors.Cancelled: 499,
    errors.Stopping: 503,
    errors.EngineFailed: 500,
    errors.Unauthenticated: 401,
    errors.ManagementOff: 403,
    errors.ChoosingOff: 403,
    errors.LoadFailed: 409,
    errors.ChoiceRefused: 409,
}

# A message travels in a header, where some bytes take three; clients fail on long headers with an error of their own.
MAX_MESSAGE_BYTES = 2000
INTERNAL = Status(13, "the server failed on this request; its log says why")


def of(error: BaseException) -> Status:
    """The status of an error. What is no RequestError becomes INTERNAL with a fixed text: its own text stays inside."""
    if not isinstance(error, errors.RequestError) or type(error) not in CODES:
        return INTERNAL
    retry_after_ms = error.retry_after_ms if isinstance(error, errors.Overloaded) else None
    return Status(CODES[type(error)], _shortened(str(error)), retry_after_ms, HTTP_STATUSES[type(error)])


def _shortened(text: str) -> str:
    whole = text.encode(errors="replace")
    shown = whole[:MAX_MESSAGE_BYTES].decode(errors="ignore")  # drops a character that is cut in two
    return shown if len(whole) <= MAX_MESSAGE_BYTES else f"{shown} ... (cut)"
