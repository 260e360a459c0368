"""Callers who hang up without waiting for an answer."""

from __future__ import annotations

import socket

import pytest
from tests.server.conftest import Server
from tests.server.http.asking import connected, read_answer

from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.calls.service import Services
from covey_server.fronts.http.front import HttpFront
from covey_server.fronts.http.hosts import Hosts
from covey_server.fronts.http.limits import HttpLimits
from covey_server.fronts.http.origins import Origins
from covey_server.fronts.security import Security

POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"


@pytest.mark.parametrize("ahead", [0, 3])
def test_callers_who_have_hung_up_are_not_handed_over(ahead: int) -> None:
    """They send a request, or several, and close, all before the server begins to read."""
    handled: list[HttpCall] = []

    def handle(call: HttpCall) -> None:
        handled.append(call)
        call.reply(b"{}")

    limits = HttpLimits(max_body_bytes=100, max_unfinished_bytes=1000, max_connections=100)
    services = Services((), begin=lambda _: None, written=lambda *_: None)
    routes = (Route(("POST",), "/x", for_http(handle)),)
    front = HttpFront("127.0.0.1", 0, routes, services, limits, Security(), Origins(""), Hosts("*", is_open=True))
    try:
        for _ in range(20):
            with connected(front.port) as connection:
                connection.sendall(POST * (1 + ahead))
        with connected(front.port) as stays:
            stays.sendall(POST)
            front.start()
            assert read_answer(stays).status == 200
        assert len(handled) == 1
        assert front.unfinished_bytes == 0
    finally:
        front.stop(flush_s=5)


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/v1/models", b"/v2"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_who_asks_for_little_and_then_closes_only_its_sending_side_is_answered(
    server: Server, path: bytes, version: bytes
) -> None:
    """As probes that are made of `printf` and `nc` do."""
    with connected(server.http_port) as connection:
        connection.sendall(b"GET %b HTTP/%b\r\nHost: localhost\r\n\r\n" % (path, version))
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection).status == 200
