"""The network side: takes calls and sends the answers. Two fronts for gRPC with one interface, and one for HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from covey_server.fronts.streams import Streams

CloseReason = Literal["preface", "idle", "places", "unfinished", "unread"]  # why the server closes a connection
CLOSE_REASONS: tuple[CloseReason, ...] = get_args(CloseReason)
LIVE = "live"  # the service name under which grpc.health.v1 tells whether the process works
CALL_BYTES = 256  # assumed for each call's headers and frames; they have less, since HPACK shortens the usual ones
MAX_METADATA_BYTES = 64 << 10  # of one call, 32 added for each header; a token with many groups has 20 KB


class Front(ABC):
    """Takes calls and hands them to their services."""

    name: str  # as in `--front`
    port: int  # that was bound
    streams: Streams  # that are open
    handed: dict[str, int]  # bytes of calls that were handed over, by connection
    tells_written: bool  # whether the front calls `Services.written`

    @property
    def refused_tokens(self) -> int:
        """How many calls without a valid token were refused by the library, before `Tokens` saw them."""
        return 0

    def renew(self) -> None:  # noqa: B027 - nothing to do by default
        """Follows tokens that changed, where not each call asks for them. Called regularly, by one thread."""

    @abstractmethod
    def start(self) -> None:
        """Begins to take calls."""

    @abstractmethod
    def set_ready(self, ready: bool) -> None:
        """Sets what grpc.health.v1 answers for the server ("") and each of its services."""

    @abstractmethod
    def set_live(self, live: bool) -> None:
        """Sets what it answers for "live": whether the process works, ready or not."""

    def take_over(self, thread: int) -> None:  # noqa: B027 - nothing to do by default
        """Tells that a batch holds up this thread (threading.get_ident): if it takes calls, another one does from now
        on."""

    @abstractmethod
    def stop(self, flush_s: float) -> None:
        """Closes all connections as soon as all answers are written, or after `flush_s`."""

    def remove_files(self) -> None:  # noqa: B027 - nothing to do by default
        """Removes what the front keeps on disk: for a process that ends without `stop`."""

    def forget(self, peer: str) -> None:
        """Drops what was counted for a connection that is closed."""
        self.handed.pop(peer, None)
