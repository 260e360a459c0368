"""What each of several processes gets of what was set for the server."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from covey_server.config import Config
from covey_server.errors import InvalidConfiguration

# For the whole server. Threads, and what one call, image or connection may have, are not divided.
_DIVIDED = (
    "max_calls", "max_bytes", "max_decodes", "max_decode_bytes", "max_connections", "capture_max_bytes",
    "capture_max_files",
)  # fmt: skip


def of_one(config: Config, grpc_port: int, http_port: int) -> Config:
    """The settings of one process: limits divided, the ports as they were reserved. A limit of 0 stays 0; a process
    divides what it finds out itself (cores, memory)."""
    shares = {name: -(-getattr(config, name) // config.processes) for name in _DIVIDED}
    return replace(config, grpc_port=grpc_port, http_port=http_port, **shares)


def require_possible(config: Config) -> None:
    """Raises InvalidConfiguration where processes cannot share a port."""
    if sys.platform != "linux":
        raise InvalidConfiguration(
            f"--processes {config.processes}: only Linux shares the connections of a port between processes; use "
            f"--processes 1, or several servers on ports of their own"
        )


def to_message(config: Config) -> dict[str, Any]:
    """The settings for a process, as JSON can carry them."""
    return {each.name: _plain(getattr(config, each.name)) for each in fields(config)}


def from_message(message: dict[str, Any]) -> Config:
    """The same on the other side."""
    return Config(**message)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
