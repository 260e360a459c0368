"""A way to the server that falls silent, as when a cable is cut: the call ends long before its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import covey
from covey import connection, security

if TYPE_CHECKING:
    from .conftest import ScriptedServer


class Relay:
    """Hands on the bytes of one connection, until it falls silent: then it reads none and closes nothing."""

    def __init__(self, target: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        host, _, port = target.rpartition(":")
        self._server = (host, int(port))
        self._ends: list[socket.socket] = []
        self._silent = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def fall_silent(self) -> None:
        self._silent.set()

    def close(self) -> None:
        self._silent.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # from here on there are no new connections
        for one in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                here, _ = self._listener.accept()
                self._ends.append(here)
                there = socket.create_connection(self._server)
                self._ends.append(there)
                for pair in ((here, there), (there, here)):
                    self._threads.append(threading.Thread(target=self._hand_on, args=pair))
                    self._threads[-1].start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65_536)) and not self._silent.is_set():
                sink.sendall(data)


@pytest.fixture
def transport() -> str:
    return "grpc"  # HTTP/1.1 has no pings: such a call lasts until its deadline


@pytest.fixture
def relay(server: ScriptedServer) -> Iterator[Relay]:
    relay = Relay(server.target)
    yield relay
    relay.close()


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_silent_connection_is_noticed_by_keepalive(
    server: ScriptedServer, relay: Relay, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the times of keepalive made short; that the channel has them at all is what is shown."""
    quick = {"grpc.keepalive_time_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    options = tuple((name, quick.get(name, value)) for name, value in connection.CHANNEL_OPTIONS)
    monkeypatch.setattr(security, "CHANNEL_OPTIONS", options)
    assert quick.keys() <= dict(options).keys()

    def classify() -> None:
        with covey.Client(relay.target, retries=0) as client:
            client.classify(b"cat", deadline_ms=60_000)

    async def classify_awaited() -> None:
        async with covey.AsyncClient(relay.target, retries=0) as client:
            await client.classify(b"cat", deadline_ms=60_000)

    def cut() -> None:
        server.wait_until_held()
        relay.fall_silent()

    server.hold()
    cutting = threading.Thread(target=cut)
    cutting.start()
    began_s = time.monotonic()
    call = classify if kind == "Client" else lambda: asyncio.run(classify_awaited())
    with pytest.raises(covey.Unavailable):
        call()
    assert time.monotonic() - began_s < 30
    cutting.join()
