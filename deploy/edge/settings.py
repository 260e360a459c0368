"""The edge's settings: environment variables, checked before nginx sees them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "COVEY_EDGE_"
_OF_COMPOSE = ("COVEY_EDGE_BIND", "COVEY_EDGE_PORT")  # where docker-compose.yml publishes the edge
_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)|=(tcp|udp)://|_(TCP|UDP)_(PROTO|PORT|ADDR)=")  # its service links


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
            variable = _variable(name)
            text = environment.get(variable, "")
            if not text:
                continue
            found[name] = _number(variable, text) if isinstance(default, int) else _text(variable, text)
            if not isinstance(default, int | str):
                found[name] = Path(str(found[name]))
        return cls(**found)  # type: ignore[arg-type]


def known() -> list[str]:
    """The variables that the edge, or Compose for it, reads."""
    return [*map(_variable, vars(Settings())), *_OF_COMPOSE]


def unknown(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each `COVEY_EDGE_...` that nothing reads."""
    said = []
    for name in sorted(environment):
        if not name.startswith(_PREFIX) or name in known() or _OF_KUBERNETES.search(f"{name}={environment[name]}"):
            continue
        near = next(iter(difflib.get_close_matches(name, known(), n=1, cutoff=0.8)), "")
        said.append(f"warning: {name} has no effect: nothing reads it" + (f"; did you mean {near}?" if near else ""))
    return said


def _variable(name: str) -> str:
    return "COVEY_MAX_MESSAGE_BYTES" if name == "max_message_bytes" else f"{_PREFIX}{name.upper()}"


def _number(variable: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text) or (int(text) == 0 and not variable.endswith("_PER_S")):
        raise InvalidSetting(f"{variable}={text}: expected a whole number above zero")
    return int(text)


def _text(variable: str, text: str) -> str:
    if not re.fullmatch(r"[\w./:\[\]-]+", text):
        raise InvalidSetting(f"{variable}={text}: expected letters, digits and any of . / : [ ] - _")
    return text
