"""The edge's settings: environment variables, checked before nginx sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class InvalidSetting(Exception):
    """A setting that cannot be used: what was expected, what came, what to do."""


@dataclass(frozen=True)
class Settings:
    """`COVEY_EDGE_...` each, in capitals; `max_message_bytes` is the server's COVEY_MAX_MESSAGE_BYTES.

    `calls`, `streams` and `calls_per_s` are for each address of a caller, `connections` for each of the `workers`.
    """

    listen: str = "8443"  # where callers come: a port, or HOST:PORT
    status_listen: str = "8080"  # /metrics and /readyz, plaintext
    server: str = "server:8001"  # the native front; every address of the name is one server
    server_status: str = "server:8002"  # its metrics port
    certificate: Path = Path("/certificates/server.pem")
    key: Path = Path("/certificates/server.key")
    client_ca: Path | None = None  # who signs the callers' certificates; None: they need none
    token_file: Path | None = None  # as the server's --auth-token-file; None: the server alone looks at tokens
    max_message_bytes: int = 64 * 1024**2
    room_bytes: int = 256 * 1024**2  # of messages on their way to one server; half of its memory limit
    calls: int = 1024
    calls_per_s: int = 0  # 0: no limit
    streams: int = 32
    stream_idle_s: int = 3600
    connections: int = 4096
    workers: int = 2
    folder: Path = Path("/tmp/edge")
    messages: Path = Path("/messages")  # where messages of more than 64 KB wait until they are complete

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Raises InvalidSetting."""
        found: dict[str, str | int | Path] = {}
        for name, default in vars(cls()).items():
            variable = "COVEY_MAX_MESSAGE_BYTES" if name == "max_message_bytes" else f"COVEY_EDGE_{name.upper()}"
            text = environment.get(variable, "")
            if not text:
                continue
            found[name] = _number(variable, text) if isinstance(default, int) else _text(variable, text)
            if not isinstance(default, int | str):
                found[name] = Path(str(found[name]))
        return cls(**found)  # type: ignore[arg-type]


def _number(variable: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text) or (int(text) == 0 and not variable.endswith("_PER_S")):
        raise InvalidSetting(f"{variable}={text}: expected a whole number above zero")
    return int(text)


def _text(variable: str, text: str) -> str:
    if not re.fullmatch(r"[\w./:\[\]-]+", text):
        raise InvalidSetting(f"{variable}={text}: expected letters, digits and any of . / : [ ] - _")
    return text
