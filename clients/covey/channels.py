"""Opens the channels of a client, one for each target: gRPC's own, or those of HTTP, which look the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from covey.connection import is_url
from covey.security import Access


def over_http(targets: Sequence[str]) -> bool:
    """Whether normalised targets, which are of one kind, are reached over HTTP."""
    return is_url(targets[0])


def open_blocking(targets: Sequence[str], access: Access) -> list[Any]:
    """For threads. Raises grpc.RpcError where TLS cannot be used and the library finds that out at once."""
    if over_http(targets):
        from covey.over_http import blocking  # here, as it needs httpx

        return list(blocking.open_channels(targets, access))
    credentials = access.credentials
    if credentials is None:
        return [grpc.insecure_channel(target, access.options(target)) for target in targets]
    return [grpc.secure_channel(target, credentials, access.options(target)) for target in targets]


def open_async(targets: Sequence[str], access: Access) -> list[Any]:
    """For the event loop that runs. Raises as `open_blocking`."""
    if over_http(targets):
        from covey.over_http.channel import HttpChannel

        return [HttpChannel(target, access) for target in targets]
    credentials = access.credentials
    if credentials is None:
        return [grpc.aio.insecure_channel(target, access.options(target)) for target in targets]
    return [grpc.aio.secure_channel(target, credentials, access.options(target)) for target in targets]
