"""The network side: takes gRPC calls and sends the answers. Two fronts with one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

LIVE = "live"  # the service name under which grpc.health.v1 tells whether the process works
CALL_BYTES = 256  # assumed for each call's headers and frames; they have less, since HPACK shortens the usual ones
MAX_METADATA_BYTES = 64 << 10  # of one call, 32 added for each header; a token with many groups has 20 KB


class Front(Protocol):
    """Takes calls and hands them to their services."""

    @property
    def name(self) -> str:
        """The front's name, as in `--front`."""

    @property
    def port(self) -> int:
        """The port that was bound."""

    @property
    def open_streams(self) -> int:
        """How many streams are open."""

    @property
    def stream_bytes(self) -> int:
        """Bytes that streams hold: requests that were read, and answers that are not written yet."""

    @property
    def refused_tokens(self) -> int:
        """How many calls without a valid token were refused by the library, before `Tokens` saw them."""

    def renew(self) -> None:
        """Follows tokens that changed. Called regularly, by one thread."""

    def start(self) -> None:
        """Begins to take calls."""

    def set_ready(self, ready: bool) -> None:
        """Sets what grpc.health.v1 answers for the server ("") and each of its services."""

    def set_live(self, live: bool) -> None:
        """Sets what it answers for "live": whether the process works, ready or not."""

    def take_over(self, thread: int) -> None:
        """Tells that a batch holds up this thread (threading.get_ident): if it takes calls, another one does from now
        on."""

    def stop(self, flush_s: float) -> None:
        """Closes all connections as soon as all answers are written, or after `flush_s`."""

    def remove_files(self) -> None:
        """Removes what the front keeps on disk: for a process that ends without `stop`."""

    @property
    def handed(self) -> Mapping[str, int]:
        """Bytes of calls that were handed over, by connection."""

    @property
    def streamed_bytes(self) -> int:
        """Bytes of calls that were handed over and whose connection is not known."""

    @property
    def tells_written(self) -> bool:
        """Whether the front calls `Services.written`."""

    def forget(self, peer: str) -> None:
        """Drops what was counted for a connection that is closed."""
