"""Security on grpcio's side: tokens are asked for before any handler is found, and connections made with certificates
that may be renewed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health

from covey_server.calls.status import Status
from covey_server.fronts.security.certificates import Certificates, Identity
from covey_server.fronts.security.tokens import HEADER, Tokens

_OPEN = f"/{health.SERVICE_NAME}/"


class TokenCheck(grpc.aio.ServerInterceptor):
    """Lets calls through that bring a token; and those for health, for which probes have none to bring."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - the stubs' own type is generic
        if not handler_call_details.method.startswith(_OPEN):
            header = next((value for key, value in handler_call_details.invocation_metadata if key == HEADER), None)
            refusal = self._tokens.refusal(header.encode() if isinstance(header, str) else header)
            if refusal is not None:
                return _refusing(refusal)
        return await continuation(handler_call_details)


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Asks at every new connection whether the certificate was renewed."""

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
        renewed,  # type: ignore[arg-type]  # the stubs forget None: as before
        require_client_authentication=used.client_ca is not None,
    )


def _refusing(refusal: Status) -> Any:  # noqa: ANN401 - as above
    """Answers a call of any kind before its first message is read."""

    async def refuse(messages: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal.message)

    return grpc.stream_stream_rpc_method_handler(refuse)
