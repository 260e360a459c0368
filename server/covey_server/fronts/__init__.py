"""The wire: what takes gRPC calls off the network and puts answers back. Two fronts, one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

LIVE = "live"  # the name under which grpc.health.v1 tells whether the process should be left running
MAX_METADATA_BYTES = 64 << 10  # of one call, 32 for each header included: a token with many groups has 20 KB


class Front(Protocol):
    """Takes calls and hands them to their services."""

    @property
    def name(self) -> str:
        """As `--front` calls it."""

    @property
    def port(self) -> int:
        """The port that was bound."""

    @property
    def open_streams(self) -> int:
        """How many streams are open."""

    @property
    def stream_bytes(self) -> int:
        """What they hold: requests that were read, and answers that were not yet taken."""

    @property
    def refused_tokens(self) -> int:
        """Calls without a valid token that were refused before the tokens were asked."""

    def renew(self) -> None:
        """Follows tokens that changed. Called again and again, by one thread."""

    def start(self) -> None:
        """Begins to take calls."""

    def set_ready(self, ready: bool) -> None:
        """What grpc.health.v1 answers from now on for the server ("") and each of its services."""

    def set_live(self, live: bool) -> None:
        """What it answers for the service "live": whether the process works, ready or not."""

    def take_over(self, thread: int) -> None:
        """Lets another thread take calls where this one (threading.get_ident), held up by a batch, does so now."""

    def stop(self, flush_s: float) -> None:
        """Closes all connections, once every answer given is on the wire or `flush_s` has passed."""

    def remove_files(self) -> None:
        """Removes what the front keeps on disk: for a process that ends without `stop`."""

    @property
    def handed(self) -> Mapping[str, int]:
        """Bytes of the calls that were handed over, by connection."""

    @property
    def streamed_bytes(self) -> int:
        """Those of calls whose connection is not known."""

    @property
    def tells_written(self) -> bool:
        """Whether `Service.written` is told when an answer is written."""

    def forget(self, peer: str) -> None:
        """Drops what was counted for a connection that is closed."""
