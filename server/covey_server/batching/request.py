"""One request on its way through the queue: its image rows, its deadline, its stamps, and whom to answer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from covey_server.batching.output import Output
from covey_server.errors import Cancelled, Expired

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

Buffer = bytes | memoryview


class Request(ABC):
    """`count` images of one caller for one model. A service subclasses it to hold the way back.

    Times are of time.monotonic_ns and in order: arrived, queued, started, computed. A request of more images than a
    batch holds is computed in several. Of each the rows are written at once (those of 20,000 images take 20 ms, for
    which single images waited), and it is answered once, when its last image is there.
    """

    __slots__ = (
        "_lock",
        "_parts",
        "_pending",
        "arrived_ns",
        "batch_size",
        "caller",
        "computed_ns",
        "count",
        "deadline_ns",
        "joined",
        "model",
        "queued_ns",
        "rows",
        "started_ns",
        "taken",
        "turn",
    )

    def __init__(
        self,
        model: ServedModel,
        rows: Buffer,
        count: int,
        arrived_ns: int,
        deadline_ns: int | None,
        caller: str = "",
    ) -> None:
        """`caller` is whose turn it takes: one connection."""
        self.model = model
        self.caller = caller
        self.rows = rows  # count x H x W x C bytes
        self.count = count
        self.deadline_ns = deadline_ns
        self.arrived_ns = arrived_ns
        self.queued_ns = 0
        self.started_ns = 0
        self.computed_ns = 0
        self.batch_size = 0
        self._parts: dict[int, list[bytes]] | None = None
        self.joined: list[bytes] | None = None  # the rows of all its parts, written
        self.taken = 0  # images that left the queue; only the batcher counts here
        self.turn = 0  # of the next image; only the batcher gives turns

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def can_answer(self, output: Output, first: int) -> bool:
        """Whether `answer` will give one. Else it fails: not every protocol can say of a single image that its
        probabilities are not finite."""
        return True

    @abstractmethod
    def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
        """The answer's bytes for `count` rows of an output from `first` on, in pieces. Raises RequestError where these
        rows cannot be answered."""

    @abstractmethod
    def succeed(self, rows: list[bytes]) -> None:
        """Answers with the written rows of all images, in order."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Answers with an error."""

    def answer(self, output: Output, first: int) -> None:
        """Answers with the rows `first` to `first + count` of the output, or with those that are joined."""
        try:
            rows = self.write_rows(output, first, self.count) if self.joined is None else self.joined
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            self.fail(error)
        else:
            self.succeed(rows)

    def split(self) -> None:
        """Prepares for an answer in parts; called before the first part leaves the queue."""
        self._lock = threading.Lock()
        self._parts = {}
        self._pending = self.count

    def join(self, start: int, output: Output, first: int, count: int) -> bool:
        """Adds the part that begins at image `start`: `count` rows of an output from `first` on. Returns whether it was
        the last one. A part that cannot be written fails the request."""
        try:
            rows = self.write_rows(output, first, count)
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            if self.abandon():
                self.fail(error)
            return False
        with self._lock:
            if self._parts is None:
                return False  # failed before
            self._parts[start] = rows
            self._pending -= count
            if self._pending:
                return False
            self.joined = [row for place in sorted(self._parts) for row in self._parts[place]]
            return True

    @property
    def abandoned(self) -> bool:
        """Whether a split request was given up."""
        return self._parts is None

    def abandon(self) -> bool:
        """Gives a split request up; False where it was already, so that it is answered once only."""
        with self._lock:
            first = self._parts is not None
            self._parts = None
            return first


def raise_if_expired_or_cancelled(cancelled: bool, arrived_ns: int, deadline_ns: int | None, now_ns: int) -> None:
    """Raises Cancelled or Expired for a request that nobody waits for any more."""
    if cancelled:
        raise Cancelled("the caller went away while the request waited")
    if deadline_ns is not None and now_ns >= deadline_ns:
        waited_ms = (now_ns - arrived_ns) / 1e6
        raise Expired(f"the deadline passed after {waited_ms:.1f} ms, before the images were computed")
