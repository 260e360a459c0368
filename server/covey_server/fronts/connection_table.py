"""What is known of a front's connections: measured by their sockets, and compared with what the front has handed over
and what admission has not yet seen written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from covey_server.batching.admission import Admission
from covey_server.calls.call import HTTP_PEER
from covey_server.fronts import Front
from covey_server.fronts.sockets import Address, Sockets, address_of

# grpc-core, tonic and nginx exchange less before the first call (91 and 55 bytes), and more with one.
_USED_BYTES, _USED_WRITTEN_BYTES = 160, 100
_PING_BYTES = 64  # received between two looks; up to these they are pings, and the connection counts as silent
MIN_UNFINISHED_BYTES = 1 << 20  # of one connection; with less it is not worth closing


class Connection:
    """One connection. Bytes are counted from its beginning, except `unfinished`, `recent` and `unread`."""

    __slots__ = (
        "active_s",
        "handed",
        "is_closing",
        "is_used",
        "number",
        "opened_s",
        "peer",
        "progress_s",
        "received",
        "recent",
        "unfinished",
        "unread",
        "written",
    )

    def __init__(self, number: int, now_s: float) -> None:
        self.number = number
        self.opened_s = self.active_s = self.progress_s = now_s
        self.peer = ""  # the front's name for it, once known
        self.is_used = self.is_closing = False
        self.received = self.written = self.handed = 0
        self.unfinished = 0  # bytes received that belong to no call yet
        self.recent = 0.0  # the same, at the last few looks
        self.unread = 0  # bytes of answers that are not written


class ConnectionTable:
    """The connections of one front. The guard, which owns it, holds the lock."""

    def __init__(self, port: int, front: Front, admission: Admission) -> None:
        self.open: dict[Address, Connection] = {}
        self.sockets = Sockets(port)
        self._front = front
        self._admission = admission
        self._by_peer: dict[str, Connection] = {}
        self._strays: set[str] = set()  # peers whose connection was not found at the last look
        self._streamed = 0

    def look(self, now_s: float) -> None:
        """Measures all connections, and counts out answers that are written."""
        new, gone = self.sockets.look()
        self._follow(new, gone, now_s)
        unwritten = self._unwritten()  # first: what is given meanwhile counts next time
        came = 0.0
        for connection in list(self.open.values()):
            figures = self.sockets.figures(connection.number)
            if figures is None:
                continue
            handed = self._front.handed.get(connection.peer, 0) if connection.peer else 0
            received = figures.received_bytes - connection.received
            # Slightly negative if a call is handed over at this very moment.
            rest = received - (handed - connection.handed)
            connection.unfinished = max(-MIN_UNFINISHED_BYTES, connection.unfinished + rest)
            connection.recent = connection.recent / 2 + max(0, rest)
            came += connection.recent
            if received > _PING_BYTES:
                connection.active_s = now_s
            connection.is_used = (
                connection.is_used
                or bool(handed)
                or (figures.received_bytes >= _USED_BYTES and figures.written_bytes >= _USED_WRITTEN_BYTES)
            )
            connection.unread = unwritten.pop(connection.peer, 0) if connection.peer else 0
            if not connection.unread:
                connection.progress_s = now_s
            self._note_written(connection, figures.written_bytes, now_s)
            connection.received, connection.handed = figures.received_bytes, handed
        for peer, count in unwritten.items():  # callers whose connection is gone
            if not self._front.tells_written and address_of(peer) not in self.open:
                self._admission.written(count, peer)
        self._credit_streams(came)

    def settle(self, now_s: float) -> bool:
        """Counts out answers that are written. Returns False if it needs a look, for connections that are new or
        gone."""
        for peer in self._unwritten():
            connection = self._by_peer.get(peer)
            if connection is None:
                return False
            figures = self.sockets.figures(connection.number)
            if figures is not None:
                self._note_written(connection, figures.written_bytes, now_s)
        return True

    def _unwritten(self) -> dict[str, int]:
        """Of this front's callers: the HTTP front tells itself what it has written."""
        return {peer: count for peer, count in self._admission.unwritten().items() if not peer.startswith(HTTP_PEER)}

    def _note_written(self, connection: Connection, written_bytes: int, now_s: float) -> None:
        written = written_bytes - connection.written
        connection.written = written_bytes
        if written:
            connection.progress_s = now_s
            if connection.peer and not self._front.tells_written:
                self._admission.written(written, connection.peer)

    def _follow(self, new: Mapping[int, Address], gone: Iterable[int], now_s: float) -> None:
        for address, connection in list(self.open.items()):
            if connection.number in gone:
                del self.open[address]
                if connection.peer:
                    self._by_peer.pop(connection.peer, None)
                    self._front.forget(connection.peer)
        for number, address in new.items():
            self.open[address] = Connection(number, now_s)
        strays = set()
        for peer in self._front.handed.keys() - self._by_peer.keys():
            found = self.open.get(address_of(peer) or ("", 0))
            if found is not None:
                found.peer = peer
                self._by_peer[peer] = found
            elif peer in self._strays:
                self._front.forget(peer)
            else:  # it is too new to be found, or gone: the next look decides
                strays.add(peer)
        self._strays = strays

    def _credit_streams(self, came: float) -> None:
        """Subtracts what streams have handed over. Their connections are not known, so those on which bytes came share
        it."""
        streamed = self._front.streams.handed_bytes - self._streamed
        if not streamed or not came:
            return
        taken = 0
        for connection in self.open.values():
            share = min(max(0, connection.unfinished), round(streamed * connection.recent / came))
            connection.unfinished -= share
            taken += share
        self._streamed += taken  # the rest is seen at a later look
