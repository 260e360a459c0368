"""The connections of a generator process: waits for all of them at once, and replaces those that ended."""

from __future__ import annotations

import select
import selectors
from collections.abc import Callable
from typing import Generic

from covey_load.wire.connection import Connection, ProtocolError, RequestT


class LoadError(Exception):
    """The load cannot be put on the server, or not any longer."""


class Pool(Generic[RequestT]):
    """Connections, by their places from 0 on."""

    def __init__(self, name: str, connect: Callable[[], Connection[RequestT]], count: int) -> None:
        """Connects. `name` is for error messages: "gRPC connection to localhost:8001". Raises LoadError where no server
        of the protocol answers."""
        self._name = name
        self._connect = connect
        self._selector = selectors.DefaultSelector()
        self._blocked: set[int] = set()  # places whose socket took less than was to be sent
        self.connections: list[Connection[RequestT]] = []
        try:
            for place in range(count):
                self.connections.append(self._connected())
                self._register(place)
        except LoadError:
            self.close()
            raise

    def ready(self, timeout_s: float) -> list[int]:
        """Waits at most `timeout_s` for connections where something came or more can be sent; returns their places.
        Short waits are exact to the microsecond; the selector itself counts in milliseconds."""
        if 0 < timeout_s < 0.05:
            select.select([self._selector], [], [], timeout_s)
            timeout_s = 0
        return [key.data for key, _ in self._selector.select(timeout_s)]

    def flush(self, place: int) -> None:
        """Sends what is queued; waits for room to send only where the socket took too little."""
        connection = self.connections[place]
        connection.flush()
        if connection.has_outgoing == (place in self._blocked):
            return
        if connection.has_outgoing:
            self._blocked.add(place)
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, place)
        else:
            self._blocked.discard(place)
            self._selector.modify(connection.socket, selectors.EVENT_READ, place)

    def replace(self, place: int) -> None:
        """A new connection for one that retired. Raises LoadError where it cannot be."""
        retired = self.connections[place]
        self._selector.unregister(retired.socket)
        retired.close()
        self._blocked.discard(place)
        self.connections[place] = self._connected()
        self._register(place)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._selector.close()

    def _connected(self) -> Connection[RequestT]:
        try:
            return self._connect()
        except (OSError, ProtocolError) as error:
            raise LoadError(f"no {self._name}: {error}") from error

    def _register(self, place: int) -> None:
        self._selector.register(self.connections[place].socket, selectors.EVENT_READ, place)
