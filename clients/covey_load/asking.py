"""Sends the few HTTP requests around a load, by the standard library."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from covey.errors import NO_SERVER, Unavailable
from covey_load.remote import Remote


class Answer(NamedTuple):
    """The answer to a request; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def ask(remote: Remote, method: str, path: str, body: bytes | None, headers: Iterable[tuple[str, str]]) -> Answer:
    """Sends one request on a connection of its own. `path` is below that of the target. Raises Unavailable."""
    endpoint = remote.endpoint
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
    try:
        connection.sock = endpoint.connect("http/1.1")  # HTTPSConnection knows no other name than the host's
        connection.sock.settimeout(remote.deadline_ms / 1_000)
        connection.request(method, remote.prefix + path, body, dict(headers))
        answer = connection.getresponse()
        header_values = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, header_values, answer.read())
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise Unavailable(f"no HTTP server answers at {remote.target} ({error}); {NO_SERVER}", remote.target) from error
    finally:
        connection.close()
