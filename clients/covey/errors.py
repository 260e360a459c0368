"""Every error of the SDK, as one tree, and the one table from gRPC's status codes to it.

    CoveyError
    ├── InvalidInput (ValueError)            found here, before anything was sent
    │   ├── UnsupportedInput (TypeError)     neither path, bytes, array nor PIL image
    │   └── UnreadableFile (OSError)
    │       └── MissingFile (FileNotFoundError)
    ├── ClientClosed                         the client was used after close()
    ├── WrongEventLoop (RuntimeError)        an AsyncClient was used in another event loop than before
    ├── ForkedProcess (RuntimeError)         this process was forked off where gRPC does not survive it
    ├── CallError                            the call failed as a whole: .target, .status, .details
    │   ├── InvalidRequest                   INVALID_ARGUMENT, FAILED_PRECONDITION
    │   ├── UnknownModel                     NOT_FOUND
    │   ├── Overloaded                       RESOURCE_EXHAUSTED: .retry_after_ms
    │   ├── DeadlineExceeded                 DEADLINE_EXCEEDED
    │   ├── Unauthenticated                  UNAUTHENTICATED: no token, or a wrong one
    │   ├── PermissionDenied                 PERMISSION_DENIED
    │   ├── Unavailable                      UNAVAILABLE, CANCELLED by the server
    │   │   └── HandshakeFailed              no trusted connection: certificate, name, TLS on one side only, no gRPC
    │   └── ServerError                      INTERNAL and every other status
    ├── NoLabel (LookupError)                the best label was asked for, and none reached its threshold
    └── ImageError                           one image could not be classified; its neighbours were
        ├── InvalidImage
        ├── ImageTooLarge
        └── NotFinite

What is wrong with an argument is also the builtin error that Python itself would raise for it. An error
caused by another one keeps it as `__cause__`. Owns no calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import grpc

from covey import handshakes
from covey.handshakes import ClientTLS


class CoveyError(Exception):
    """The root: whatever the SDK raises on purpose is one of these."""


class InvalidInput(CoveyError, ValueError):
    """An argument that cannot be sent, found before sending."""


class UnsupportedInput(InvalidInput, TypeError):
    """An argument of a type that is no image."""


class UnreadableFile(InvalidInput, OSError):
    """A path that is there but cannot be read: no permission, a folder. The system's error is the cause."""


class MissingFile(UnreadableFile, FileNotFoundError):
    """A path that is not there."""


class ClientClosed(CoveyError):
    """The client was closed before, or while, it was used."""


class WrongEventLoop(CoveyError, RuntimeError):
    """An AsyncClient belongs to the event loop of its first call."""


class ForkedProcess(CoveyError, RuntimeError):
    """gRPC cannot be used in this process, or an iterator not go on in it, since it was forked off; the text says why,
    and what to do."""


class CallError(CoveyError):
    """A call that failed as a whole: none of its images was answered.

    `target` is the server's address, `status` the name of the gRPC status code, `details` the server's words.
    """

    def __init__(self, message: str, target: str = "", status: str = "", details: str = "") -> None:
        super().__init__(message)
        self.target = target
        self.status = status
        self.details = details


class InvalidRequest(CallError):
    """The server understood the request and refuses it: wrong shape, wrong top_k, no images, a version to choose that
    cannot be served."""


class UnknownModel(CallError):
    """The server serves no such model, or not this version of it."""


class Overloaded(CallError):
    """The server holds as much as it is allowed to. The same request may succeed later.

    `retry_after_ms` is when the server expects to have room again; None where it did not say so.
    """

    retry_after_ms: int | None = None


class DeadlineExceeded(CallError):
    """No answer within deadline_ms."""


class Unavailable(CallError):
    """No server could be reached, or it is starting or stopping."""


class HandshakeFailed(Unavailable):
    """A server is there, but no connection to it can be trusted; the text says why. The same attempt fails again."""


class Unauthenticated(CallError):
    """The server wants a token, and the call brought none, or one that is not valid."""


class PermissionDenied(CallError):
    """The server, or a proxy before it, knows the caller and does not let it do this."""


class ServerError(CallError):
    """The server failed, or what answers is no Covey server of this version."""


class NoLabel(CoveyError, LookupError):
    """The best label was asked for, of an image of which no independent label reached its threshold."""


class ImageError(CoveyError):
    """The server could not classify this one image."""


class InvalidImage(ImageError):
    """Not an image of a format the server reads, or a damaged one."""


class ImageTooLarge(ImageError):
    """An image of more pixels than the server decodes."""


class NotFinite(ImageError):
    """The model's answer for the image was NaN or infinity: the model is to blame, not the image."""


# What to do where no server answers.
NO_SERVER = (
    "start one there (`covey serve`), or name the one that runs (--target, COVEY_TARGET or, in Python, Client(TARGET))"
)
_BY_STATUS: Mapping[grpc.StatusCode, tuple[type[CallError], str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: (
        InvalidRequest,
        "the server at {target} refuses the request: {details}",
    ),
    grpc.StatusCode.FAILED_PRECONDITION: (  # of a version that is to be chosen
        InvalidRequest,
        "the server at {target} cannot do that: {details}",
    ),
    grpc.StatusCode.NOT_FOUND: (
        UnknownModel,
        "the server at {target} does not know the model: {details}",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        Overloaded,
        "the server at {target} takes no more: {details}",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        DeadlineExceeded,
        "no answer from {target} within {deadline_ms:g} ms; give the call more time, or try again ({details})",
    ),
    grpc.StatusCode.UNAVAILABLE: (
        Unavailable,
        f"no Covey server answers at {{target}} ({{details}}); {NO_SERVER}",
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        Unauthenticated,
        "the server at {target} does not know who calls: {details} (Client(..., token=...), or --token-file FILE)",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        PermissionDenied,
        "the server at {target} does not allow this call: {details}",
    ),
    grpc.StatusCode.CANCELLED: (  # by the server: a client cancels only when it is closed
        Unavailable,
        "the server at {target} dropped the call, as one that stops may do ({details}); try again",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        ServerError,
        "the server at {target} does not know this call; is it a Covey server, and new enough? ({details})",
    ),
}
_ANY_OTHER = (ServerError, "the server at {target} failed with {status}: {details}; its log says more")


# grpcio's words, tonic's or a proxy's, and tonic's where it is more than four times too long; over HTTP a proxy's and
# Covey's.
_METADATA_TOO_LONG = (
    *("received metadata size exceeds", "http2 header with status: 431", "header_list_way_too_large"),
    *("HTTP 431", "line and headers exceed"),
)
RETRY_AFTER = "retry-after-ms"  # the server's hint, in the trailing metadata


def from_rpc_error(
    error: grpc.RpcError,
    target: str,
    deadline_ms: float,
    attempts: int = 1,
    tls: ClientTLS | None = None,
    metadata_bytes: Callable[[], int] = lambda: 0,
) -> CallError:
    """The error that stands for a failed call to `target`. To be raised `from error`, which keeps the cause.

    `attempts` is how often the call was tried, this failure included; `tls` is what the client has of it,
    `metadata_bytes` tells the length of what went along with the call.
    """
    code, details = error.code(), error.details() or "no details given"
    kind, sentence = _BY_STATUS.get(code, _ANY_OTHER)
    if kind is Unavailable:
        if (reason := handshakes.failure(details)) is not None:
            kind, sentence = HandshakeFailed, f"no trusted connection to {{target}}: {reason} ({{details}})"
        elif (reason := handshakes.suspicion(details, tls)) is not None:
            sentence = f"no Covey server answers at {{target}}: {reason} ({{details}})"
    if any(words in details for words in _METADATA_TOO_LONG):
        size = f", {size_bytes:,} bytes," if (size_bytes := metadata_bytes()) else ""
        kind = InvalidRequest
        sentence = (
            f"the server at {{target}} takes no metadata as long as this call's{size} most of which is its token: "
            f"{{details}}; bring a shorter token, or raise the server's limit"
        )
    message = sentence.format(target=target, status=code.name, details=details, deadline_ms=deadline_ms)
    retry_after_ms = _retry_after_ms(error) if kind is Overloaded else None
    if retry_after_ms is not None:
        message = f"{message}; it expects room in {retry_after_ms} ms"
    if attempts > 1:
        message = f"{message} (tried {attempts} times)"
    made = kind(message, target, code.name, details)
    if isinstance(made, Overloaded):
        made.retry_after_ms = retry_after_ms
    return made


def _retry_after_ms(error: grpc.RpcError) -> int | None:
    """The server's hint; None where there is none, or one that is no whole number."""
    metadata: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in metadata:
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        if key == RETRY_AFTER and text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
    return None
