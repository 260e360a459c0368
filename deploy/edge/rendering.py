"""nginx's configuration: the template beside this file, filled in with the settings, the servers and the tokens."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path

from deploy.edge.settings import InvalidSetting, Settings

_TEMPLATE = Path(__file__).with_name("nginx.conf.template")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4000}=*")
_FLAG_AND_LENGTH_BYTES = 5  # before a gRPC message
_ROOMS = {
    "small": 10**5,
    "medium": 10**6,
    "large": 10**7,
    "larger": 2 * 10**7,
    "huge": 10**8,
}  # messages of fewer bytes than that
_TRY_AGAIN_MS = 100

# What callers are told by the edge itself: a gRPC status, a reason for the metrics, words, and whether to try again.
_REFUSALS = (
    ("no_grpc", 12, "protocol", "the edge takes gRPC over HTTP/2 alone", False),
    ("token", 16, "token", "expected a valid token, as the metadata `authorization: Bearer TOKEN`", False),
    ("message_size", 3, "message_size", "a request has at most %{limit} bytes; send fewer images per call", False),
    ("compression", 12, "compression", "compressed messages are not taken; send them uncompressed", False),
    ("busy", 8, "address", "this address has too many calls; try again", True),
    ("metadata", 8, "metadata", "metadata larger than the 16 KB that the server takes; send a shorter token",
     False),
    ("certificate", 16, "certificate", "callers need a certificate that this server's authority has signed", False),
    ("full", 8, "full", "the edge has no room for another large message; try again", True),
)  # fmt: skip


class _Template(string.Template):
    delimiter = "%"


def render(settings: Settings, servers: Sequence[str], tokens: Sequence[str] | None) -> str:
    """The text of nginx.conf. `servers` are addresses without ports; `tokens` None: the server alone looks at
    them."""
    known = ["default 1;"] if tokens is None else ["default 0;", *(f'"{token}" 1;' for token in tokens)]
    rate, client_ca = "", ""
    if settings.calls_per_s:
        rate = (
            f"  limit_req_zone $binary_remote_addr zone=rate_of_an_address:10m rate={settings.calls_per_s}r/s;\n"
            f"  limit_req zone=rate_of_an_address burst={settings.calls_per_s} nodelay;\n"
            f"  limit_req_status 429;\n  limit_req_log_level info;"
        )
    if settings.client_ca is not None:
        client_ca = (
            f"    ssl_client_certificate {settings.client_ca};\n    ssl_verify_client on;\n    ssl_verify_depth 4;"
        )
    values = {
        **vars(settings),
        "files": settings.connections * 3,
        "body_bytes": settings.max_message_bytes + _FLAG_AND_LENGTH_BYTES,
        "streams_per_connection": 256,
        "tokens": "\n".join(f"    {each}" for each in known),
        "upstreams": _upstreams(settings, servers),
        "refusals": _refusals(settings),
        "rate": rate,
        "client_ca": client_ca,
    }
    return _Template(_TEMPLATE.read_text()).substitute(values)


def read_tokens(path: Path) -> list[str]:
    """The tokens of a file, one a line, blank lines and those that begin with # left out, as the server reads it.

    Raises:
        InvalidSetting: it cannot be read, holds none, or a line that is none. The line itself is not shown.
    """
    try:
        lines = [line.strip() for line in path.read_text("ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"COVEY_EDGE_TOKEN_FILE {path}: it cannot be read: {error}") from error
    tokens: dict[str, str] = {}  # nginx minds no case, and wants each once
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            if not _TOKEN.fullmatch(line):
                raise InvalidSetting(f"COVEY_EDGE_TOKEN_FILE {path}: line {number} is no token: expected one a line")
            tokens[line.lower()] = line
    if not tokens:
        raise InvalidSetting(f"COVEY_EDGE_TOKEN_FILE {path}: it holds no token; expected one a line")
    return list(tokens.values())


def _upstreams(settings: Settings, servers: Sequence[str]) -> str:
    """A group of connections for each size of message, one for streams, and the servers' status."""
    port, status_port = (each.rpartition(":")[2] for each in (settings.server, settings.server_status))
    share = settings.room_bytes // len(_ROOMS)
    most = {
        name: max(1, share // min(size, settings.max_message_bytes)) for name, size in _ROOMS.items()
    }  # of connections to a server
    groups = []
    for name, connections in {**most, "streams": 0}.items():
        lines = [f"zone {name} 64k;"]
        lines += [f"server {server}:{port}{f' max_conns={connections}' * bool(connections)};" for server in servers]
        if connections:
            lines += [f"keepalive {min(connections, 128)};", "keepalive_requests 1000000;", "keepalive_timeout 20s;"]
        groups.append(f"  upstream {name} {{ {' '.join(lines)} }}")
    groups.append(f"  upstream status {{ {' '.join(f'server {server}:{status_port};' for server in servers)} }}")
    return "\n".join(groups)


def _refusals(settings: Settings) -> str:
    """A named location for each refusal: an answer of gRPC that is trailers alone."""
    locations = []
    for name, status, reason, words, again in _REFUSALS:
        message = words.replace("%{limit}", f"{settings.max_message_bytes:,}")
        retry = f" add_header retry-after-ms {_TRY_AGAIN_MS} always;" if again else ""
        locations.append(
            f"    location @{name} {{ set $refused {reason}; add_header grpc-status {status} always; "
            f'add_header grpc-message "{message}" always;{retry} return 200 ""; }}'
        )
    return "\n".join(locations)
