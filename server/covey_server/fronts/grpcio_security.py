"""Security of the grpcio front: the check of tokens before any handler runs, certificates that may be renewed, and who
a caller is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health

from covey_server.calls.call import Metadata
from covey_server.calls.status import Status
from covey_server.fronts.security.certificates import Certificates, Identity
from covey_server.fronts.security.tokens import HEADER, Tokens

_OPEN = f"/{health.SERVICE_NAME}/"


class Caller:
    """Who calls, and the metadata of the call. Computed only when asked, while the call is open. Who calls stays so for
    all messages of a stream, whatever becomes of its token."""

    __slots__ = ("_context", "_principal", "_tokens")

    def __init__(self, context: grpc.aio.ServicerContext[bytes, bytes], tokens: Tokens | None) -> None:
        self._context = context
        self._tokens = tokens
        self._principal: str | None = None

    @property
    def metadata(self) -> Metadata:
        """As `Call.metadata`."""
        return tuple((key, value) for key, value in self._context.invocation_metadata() or ())

    @property
    def principal(self) -> str:
        """As `Call.principal`: the token where the server asks for tokens, else the certificate."""
        if self._principal is None:
            self._principal = self._find_principal()
        return self._principal

    def _find_principal(self) -> str:
        if self._tokens is not None:
            found = self._tokens.identify(_token_header(self._context.invocation_metadata() or ()))
            return found if isinstance(found, str) else ""
        subject = next(iter(self._context.auth_context().get("x509_subject", ())), b"")
        return f"certificate:{subject.decode(errors='replace')}" if subject else ""


class TokenCheck(grpc.aio.ServerInterceptor):
    """Lets calls with a valid token pass, and all calls for health, since probes have no token."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - the stubs' own type is generic
        if not handler_call_details.method.startswith(_OPEN):
            found = self._tokens.identify(_token_header(handler_call_details.invocation_metadata))
            if isinstance(found, Status):
                return _refusing(found)
        return await continuation(handler_call_details)


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """TLS with the current certificate: every new connection gets the latest."""

    def configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
        pair = (identity.key, identity.certificate)
        return grpc.ssl_server_certificate_configuration([pair], identity.client_ca)

    used = certificates.identity

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        if used is certificates.identity:
            return None
        used = certificates.identity
        return configuration(used)

    return grpc.dynamic_ssl_server_credentials(
        configuration(used),
        renewed,  # type: ignore[arg-type]  # the stubs lack None, which means unchanged
        require_client_authentication=used.client_ca is not None,
    )


def _token_header(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    header = next((value for key, value in metadata if key == HEADER), None)
    return header.encode() if isinstance(header, str) else header


def _refusing(refusal: Status) -> Any:  # noqa: ANN401 - as above
    """A handler that refuses a call of any kind before its first message is read."""

    async def refuse(messages: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal.message)

    return grpc.stream_stream_rpc_method_handler(refuse)
