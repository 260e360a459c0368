"""Opens the fronts that the settings ask for, with the limits that follow from these."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from covey_server.batching.admission import Admission
from covey_server.calls.http import Route
from covey_server.calls.service import Services
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.fronts import Front, sockets
from covey_server.fronts.connections import ConnectionGuard, Limits
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.http.front import HttpFront
from covey_server.fronts.http.hosts import Hosts
from covey_server.fronts.http.limits import HttpLimits
from covey_server.fronts.http.origins import Origins
from covey_server.fronts.security import Security, is_loopback
from covey_server.system import memory

if TYPE_CHECKING:
    from covey_server.fronts.native import NativeFront

log = logging.getLogger(__name__)

_MAX_ANNOUNCED_BYTES = 1 << 32  # that a message's header can announce; pygrpc-native reserves them at once
_GRPCIO_FACTOR = 2  # grpcio takes twice a message's bytes: for the pieces, then for one copy
_UNFINISHED_REST_BYTES = 8 << 20
_CONNECTION_BYTES, _MIN_CONNECTIONS = 32_768, 64  # an idle one of the native front takes 18 KB
_OTHER_FILES = 256  # that connections must leave: for gRPC's first ones, models, probes


def guard_connections(
    config: Config, front: Front, admission: Admission, decoding_bytes: Callable[[], int]
) -> ConnectionGuard | None:
    """The guard of a front's connections; None where there is none."""
    if not sockets.IS_AVAILABLE:
        log.warning("connections are not watched here, only on Linux: keep those out who would open many")
        return None
    limits = Limits(
        max_bytes=config.max_bytes // (1 if front.name == "native" else _GRPCIO_FACTOR),
        min_unfinished_bytes=config.max_message_bytes + _UNFINISHED_REST_BYTES,
        look_bytes=min(1 << 20, config.max_bytes // 16),
        max_connections=_max_connections(config),
        idle_s=config.idle_timeout_s,
    )
    guard = ConnectionGuard(front.port, front, admission, limits, decoding_bytes)
    admission.settle = guard.settle
    return guard


def open_front(config: Config, services: Services, security: Security) -> Front:
    """The gRPC front that the settings ask for. Raises PortUnavailable, InvalidConfiguration."""
    kind: type[GrpcioFront | NativeFront] = GrpcioFront
    if security.certificates is not None:
        log.info(
            "the grpcio front serves, since the native one has no TLS; it costs several times more. Where that "
            "matters, end TLS in a proxy on this machine"
        )
    elif config.front != "grpcio":
        try:
            from covey_server.fronts.native import NativeFront

            kind = NativeFront
            if not memory.can_reserve(_MAX_ANNOUNCED_BYTES):
                log.warning(
                    "4 GB of address space cannot be reserved here (by ulimit -v, or the memory that the machine has): "
                    "a call that announces as much ends a server of the native front. Where callers are not trusted, "
                    "use --front grpcio, or set vm.overcommit_memory=1"
                )
        except ImportError as error:
            if config.front == "native":
                raise InvalidConfiguration(
                    f"--front native: {error}; install pygrpc-native, or use --front grpcio"
                ) from error
            log.warning(
                "the native front is not there (%s); serving with grpcio, which costs several times more",
                error,
            )
    address, max_stream_bytes = config.address(config.grpc_port), max(1, config.max_bytes // 2)
    return kind(
        address, services, config.max_message_bytes, max_stream_bytes, security, shares_port=config.processes > 1
    )


def open_http(config: Config, routes: Sequence[Route], services: Services, security: Security) -> HttpFront | None:
    """The HTTP front; None with --no-http. Raises PortUnavailable, InvalidConfiguration."""
    origins = Origins(config.cors_origin)
    is_local = is_loopback(config.host) and security.tokens is None and security.certificates is None
    hosts = Hosts(config.allowed_host, is_open=not is_local)
    if not config.http:
        return None
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits = HttpLimits(
        max_body_bytes=config.max_message_bytes,
        max_unfinished_bytes=max(config.max_bytes // 2, config.max_message_bytes + _UNFINISHED_REST_BYTES),
        max_connections=min(_max_connections(config), max(_MIN_CONNECTIONS, (files - _OTHER_FILES) // 2)),
        idle_s=config.idle_timeout_s,
    )
    return HttpFront(
        config.host, config.http_port_to_open, routes, services, limits, security, origins, hosts,
        shares_port=config.processes > 1,
    )  # fmt: skip


def _max_connections(config: Config) -> int:
    return config.max_connections or max(_MIN_CONNECTIONS, config.max_bytes // _CONNECTION_BYTES)
