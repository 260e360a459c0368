"""How one server is reached: by gRPC's own client for the few calls around a load, and by the endpoint that the load
itself connects to. asking.py has the calls of HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterable

import grpc

from covey.connection import is_url, normalised_targets
from covey.errors import InvalidInput, from_rpc_error
from covey.messages import Method, RequestT, ResponseT
from covey.security import TLS, Access, Token, tls_of_scheme
from covey_load.wire.frames import Request
from covey_load.wire.sockets import Endpoint

_PORT = re.compile(r":\d+$")
_PORTS = {"http": 80, "https": 443}


class Remote:
    """One server; `prefix` is the path of its URL, if it has one. Raises InvalidInput for anything but one HOST:PORT or
    URL, and for a token or certificate that cannot be used."""

    def __init__(self, target: str, deadline_ms: float, tls: TLS | bool | None = None, token: Token = "") -> None:
        targets = normalised_targets(target)
        self.target, self.deadline_ms, self.prefix = targets[0], deadline_ms, ""
        self._is_url = is_url(self.target)
        address = self.target
        if self._is_url:
            scheme, _, rest = self.target.partition("://")
            address, separator, path = rest.partition("/")
            self.prefix = separator + path
            if not _PORT.search(address):
                address += f":{_PORTS[scheme]}"
        if len(targets) > 1 or "/" in address or address.startswith(("unix:", "dns:", "ipv4:", "ipv6:")):
            raise InvalidInput(f"the target {target!r}: a load test takes one server, as HOST:PORT or http://HOST:PORT")
        self._access = Access(tls_of_scheme(targets, tls), token)
        self._access.require_safe(targets)
        host, _, port = address.rpartition(":")
        self.endpoint = Endpoint(host.strip("[]"), int(port), self._access.tls)

    @property
    def scheme(self) -> str:
        return "https" if self.endpoint.tls else "http"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of each call, as it is now."""
        return self._access.metadata or ()

    def requests(self, path: str, messages: Iterable[bytes]) -> list[Request]:
        """Serialised messages for one gRPC method (`/package.Service/Method`), numbered from 0, each with the deadline
        and the token."""
        deadline_s, metadata = self.deadline_ms / 1_000, self.metadata
        return [
            Request(self.endpoint.authority, path, message, deadline_s, number, scheme=self.scheme, metadata=metadata)
            for number, message in enumerate(messages)
        ]

    def call(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """One call by gRPC's own client. Raises CallError, InvalidInput for a URL."""
        self._require_grpc()
        options, credentials = self._access.options(self.target), self._access.credentials
        channel = (
            grpc.insecure_channel(self.target, options)
            if credentials is None
            else grpc.secure_channel(self.target, credentials, options)
        )
        with channel:
            send = channel.unary_unary(method.path, method.serialize, method.parse)
            try:
                return send(request, timeout=self.deadline_ms / 1_000, metadata=self.metadata)
            except grpc.RpcError as error:
                raise from_rpc_error(
                    error, self.target, self.deadline_ms, metadata_bytes=self._access.metadata_bytes
                ) from error

    def _require_grpc(self) -> None:
        if self._is_url:
            raise InvalidInput(
                f"the target {self.target} is a URL, and this protocol is gRPC's; give HOST:PORT, or --protocol http "
                f"or oip-http"
            )
