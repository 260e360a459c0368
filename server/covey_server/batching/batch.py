"""A batch: parts of requests for one model that run together and then get their rows."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Group, Request

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.batching.reruns import Search
    from covey_server.inference.served_model import ServedModel

# Why a batch was dispatched: it was full; a thread was idle; it had gathered while the threads were busy; the thread
# that brought the requests ran it itself; its first request's deadline; --max-delay-us was over; it is part of a batch
# that failed and runs again.
DispatchReason = Literal["full", "idle", "gathered", "inline", "deadline", "delay", "rerun"]
DISPATCH_REASONS: tuple[DispatchReason, ...] = ("full", "idle", "gathered", "inline", "deadline", "delay", "rerun")


@dataclass(slots=True)
class Part:
    """Images `start` to `stop` of a request."""

    request: Request
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        return self.stop - self.start == self.request.count


class Batch:
    """`size` images in parts. Whoever claims it first answers its callers, once."""

    __slots__ = ("_unclaimed", "captured", "formed_ns", "model", "not_finite", "parts", "reason", "search", "size")

    def __init__(
        self,
        model: ServedModel,
        parts: list[Part],
        size: int,
        formed_ns: int,
        reason: DispatchReason,
        search: Search | None = None,
    ) -> None:
        """`search` belongs to parts that run again."""
        self.search = search
        self.model = model
        self.parts = parts
        self.size = size
        self.formed_ns = formed_ns
        self.reason = reason
        self.not_finite = 0  # images whose probabilities are not all finite
        self.captured: Container[int] = ()  # places of images that are kept to be labelled, for whoever looks again
        self._unclaimed = [True]

    def claim(self) -> bool:
        """True for the first who asks, who then has to answer the callers; nobody else may."""
        try:
            return self._unclaimed.pop()  # one bytecode: two threads cannot both get it
        except IndexError:
            return False

    def images(self) -> NDArray[np.uint8]:
        """All rows in one array `[size, H, W, C] uint8`, copied once, or not at all if there is only one part."""
        row_bytes = len(self.parts[0].request.rows) // self.parts[0].request.count
        rows: list[Buffer] = [
            part.request.rows
            if part.whole
            else memoryview(part.request.rows)[part.start * row_bytes : part.stop * row_bytes]
            for part in self.parts
        ]
        joined = rows[0] if len(rows) == 1 else b"".join(rows)
        return np.frombuffer(joined, np.uint8).reshape(self.size, *self.model.input_shape)

    @property
    def wants_embedding(self) -> bool:
        """Whether one of its requests does: then all are run with embeddings, which nobody else gets."""
        return any(part.request.wants_embedding for part in self.parts)

    def complete(self, output: Output, computed_ns: int) -> list[tuple[Request, int]]:
        """Gives each part its rows. Returns the requests that can be answered now, each with its first row in the
        output (which only those in one part need)."""
        whole: list[tuple[Request, int]] = []
        first = 0
        for part in self.parts:
            request, count = part.request, part.stop - part.start
            if part.whole or request.join(part.start, output, first, count):
                request.computed_ns = computed_ns
                request.batch_size = self.size
                whole.append((request, first))
            first += count
        return whole

    def expand(self) -> None:
        """Makes the requests of groups, since they will not be answered alike."""
        parts: list[Part] = []
        for part in self.parts:
            if isinstance(part.request, Group):
                parts += (Part(request, 0, request.count) for request in part.request.expand())
            else:
                parts.append(part)
        self.parts = parts

    def fail(self) -> list[Request]:
        """The requests that have to be told of a failure. One that is split over batches is told only once."""
        return [part.request for part in self.parts if part.whole or part.request.abandon()]
