"""One request in the queue: its image rows, its deadline, its time stamps, and whom to answer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covey_server.batching.output import Output
from covey_server.calls.call import Buffer as Buffer
from covey_server.errors import Cancelled, Expired

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel


class Request(ABC):
    """`count` images of one caller for one model. A protocol subclasses it to write and send the answer.

    Times are of time.monotonic_ns and in order: arrived, queued, started, computed. A request of more images than a
    batch holds is split over several batches. The rows of each are written when it ends (all those of 20,000 images
    would take 20 ms, for which others wait), and the request is answered once, with its last image.
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
        "gives_way",
        "joined",
        "model",
        "queued_ns",
        "rows",
        "started_ns",
        "taken",
        "turn",
    )
    calls = 1  # that it answers
    wants_embedding = False  # whether `write_rows` needs the output's embeddings

    def __init__(
        self,
        model: ServedModel,
        rows: Buffer,
        count: int,
        arrived_ns: int,
        deadline_ns: int | None,
        caller: str = "",
    ) -> None:
        """`caller` names the connection whose turn it takes."""
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
        self._parts: dict[int, Sequence[Buffer]] | None = None
        self.joined: Sequence[Buffer] | None = None  # the written rows of all parts, once they are there
        self.taken = 0  # images that have left the queue; for the batcher alone
        self.turn = 0  # of its next image; for the batcher alone
        self.gives_way = False  # whether it is of priority batch

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""

    @property
    def is_on_trial(self) -> bool:
        """Whether another version answers if this one fails: then a failure says nothing of the caller."""
        return False

    def can_answer(self, output: Output, first: int) -> bool:
        """Whether `answer` will succeed. Not if a row is not finite, in protocols without errors of single images."""
        return True

    @abstractmethod
    def write_rows(self, output: Output, first: int, count: int) -> Sequence[Buffer]:
        """The answer's bytes for `count` rows of an output from `first` on, in pieces. Raises RequestError if these
        rows are no answer."""

    @abstractmethod
    def succeed(self, rows: Sequence[Buffer]) -> None:
        """Answers with the written rows of all images, in order."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Answers with an error."""

    def answer(self, output: Output, first: int) -> None:
        """Answers with `count` rows of the output from `first` on or, if it was split, with the joined ones."""
        try:
            rows = self.write_rows(output, first, self.count) if self.joined is None else self.joined
        except Exception as error:  # noqa: BLE001 - the caller is answered, whatever it is
            self.fail(error)
        else:
            self.succeed(rows)

    def split(self) -> None:
        """Prepares for several batches. To be called before the first part leaves the queue."""
        self._lock = threading.Lock()
        self._parts = {}
        self._pending = self.count

    def join(self, start: int, output: Output, first: int, count: int) -> bool:
        """Adds the part that begins at image `start`: `count` rows of an output from `first` on. Returns whether it was
        the last one. If it cannot be written, the request fails."""
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
        """Gives up a split request. Returns False if it was given up before, so that it is answered only once."""
        with self._lock:
            first = self._parts is not None
            self._parts = None
            return first


class Group(Request):
    """Requests of several calls that came together and are alike, queued as one. A batch has all of it or nothing:
    wherever its requests might not share one fate, `expand` makes them, and they go on one by one. Its deadline is the
    earliest of theirs."""

    __slots__ = ("calls",)
    calls: int

    @abstractmethod
    def make_requests(self) -> Sequence[Request]:
        """The requests, in the order of their rows."""

    def expand(self) -> Sequence[Request]:
        """The requests, which are as far as the group is."""
        requests = self.make_requests()
        for request in requests:
            request.queued_ns, request.started_ns, request.turn = self.queued_ns, self.started_ns, self.turn
            request.taken = request.count if self.taken else 0
        return requests


def raise_if_expired_or_cancelled(cancelled: bool, arrived_ns: int, deadline_ns: int | None, now_ns: int) -> None:
    """Raises Cancelled or Expired for a request that nobody waits for any more."""
    if cancelled:
        raise Cancelled("the caller went away while the request waited")
    if deadline_ns is not None and now_ns >= deadline_ns:
        waited_ms = (now_ns - arrived_ns) / 1e6
        raise Expired(f"the deadline passed after {waited_ms:.1f} ms, before the images were computed")
