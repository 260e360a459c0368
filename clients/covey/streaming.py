"""`classify_stream`, apart from its I/O: what is taken in, sent and answered, and what a broken stream leaves to do.

Images that wait travel together, as in `classify_many`: an element of the stream is one request. Knows no threads and
no event loop; whoever uses it guards it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from covey import messages, packing
from covey.connection import Deadline
from covey.errors import DeadlineExceeded, InvalidInput, ServerError
from covey.failures import Failure
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import Answer, ClassifyOptions
from covey.packing import Item, Room, Waiting
from covey.results import Classification
from covey_proto.v1 import classifier_pb2 as pb

ELEMENTS_IN_FLIGHT = 4  # enough to keep a few workers busy; the more, the smaller each is


class StreamItem(Item):
    """One image of a stream, by the caller's own id."""

    __slots__ = ("key",)

    def __init__(self, key: object, part: EncodedPart | PixelsPart, options: ClassifyOptions) -> None:
        super().__init__(part, options)
        self.key = key


class Element:
    """Some images that are sent as one, until they are answered."""

    __slots__ = ("deadline", "items", "name", "part", "sent_ns")

    def __init__(self, name: str, items: list[StreamItem], deadline: Deadline) -> None:
        self.name = name
        self.items = items
        self.deadline = deadline
        self.part = packing.merged(items)
        self.sent_ns = 0

    def message(self) -> pb.ClassifyStreamRequest:
        """To be sent now; its deadline goes on when it is sent again."""
        self.sent_ns = time.perf_counter_ns()
        deadline_us = max(1, int(self.deadline.remaining_s() * 1e6))
        return messages.stream_request(self.name, self.part, self.items[0].options, deadline_us)


class Exchange:
    """The state of one `classify_stream`."""

    def __init__(self, room: Room, deadline: Callable[[], Deadline], answered: Callable[[], None]) -> None:
        """`deadline` gives that of an element that begins now; `answered` is told of each one that is answered."""
        self.duration_ms = deadline().duration_ms
        self._room = room
        self._deadline = deadline
        self._tell_answered = answered
        self._waiting: Waiting[StreamItem] = Waiting()
        self._again: deque[Element] = deque()  # to be sent, before those that wait
        self._alone: deque[StreamItem] = deque()  # to be sent after them, each as an element of its own
        self._sent: dict[str, Element] = {}  # and not answered
        self._ready: deque[StreamItem] = deque()
        self._elements = 0
        self.answered = 0  # elements
        self.taken_all = False  # the caller has no more images

    @property
    def full(self) -> bool:
        """Whether no image may be taken in."""
        return self._room.full

    @property
    def has_element(self) -> bool:
        """Whether an element may be sent."""
        return bool(self._again or self._alone or self._waiting) and len(self._sent) < ELEMENTS_IN_FLIGHT

    @property
    def finished(self) -> bool:
        """Whether nothing is left to send, and nothing to be answered."""
        return self.taken_all and not (self._sent or self._again or self._alone or self._waiting)

    @property
    def ready(self) -> bool:
        """Whether an answer can be given out."""
        return bool(self._ready)

    def remaining_s(self) -> float | None:
        """Until the first deadline of what is sent and not answered; None where nothing is."""
        return min((element.deadline.remaining_s() for element in self._sent.values()), default=None)

    def put(self, item: StreamItem) -> None:
        """Takes an image in."""
        self._room.enter(item)
        if item.outcome is None:
            self._waiting.put(item)
        else:
            self._ready.append(item)

    def take_element(self) -> Element:
        """The next element to send; there has to be one."""
        element = self._again.popleft() if self._again else self._next_element()
        self._sent[element.name] = element
        return element

    def _next_element(self) -> Element:
        items = [self._alone.popleft()] if self._alone else self._waiting.take()
        self._elements += 1
        return Element(str(self._elements), items, self._deadline())

    def take_ready(self) -> list[StreamItem]:
        """The images that are answered. Each counts as held until `give` has it."""
        ready = list(self._ready)
        self._ready.clear()
        return ready

    def give(self, item: StreamItem) -> tuple[Any, Classification]:
        """What the caller gets for an image, for which another one may be taken in. Raises the CallError of its
        request."""
        self._room.leave(item)
        return item.key, item.result()

    def answer(self, message: pb.ClassifyStreamResponse, target: str) -> None:
        """Settles what a message answers. Raises Failure for an element's error, ServerError for no answer at all."""
        element = self._sent.get(message.id)
        if element is None:
            raise ServerError(f"the server at {target} answered {message.id!r}, which was not asked", target)
        if message.HasField("error"):
            self._refused(element, message.error)
            return
        round_trip_us = (time.perf_counter_ns() - element.sent_ns) // 1_000
        make_answer = messages.answer_with_embeddings if element.items[0].options.embedding else Answer
        found = messages.classifications(element.part, make_answer(message.response, target, round_trip_us))
        del self._sent[element.name]
        for item, classification in zip(element.items, found, strict=True):
            item.settle(classification)
        self._ready.extend(element.items)
        self.answered += 1
        self._tell_answered()

    def take_back(self) -> None:
        """The stream is broken: what it did not answer is sent again."""
        self._again.extendleft(reversed(self._sent.values()))
        self._sent.clear()

    def require_finished(self) -> None:
        """For a stream that ended in good order. Raises Failure where it owes answers, as one that broke."""
        if not self.finished:
            raise Failure("UNAVAILABLE", "the stream ended before all was answered")

    def expired(self, target: str) -> DeadlineExceeded | None:
        """The error of an element that is not answered in time, if there is one."""
        for element in self._sent.values():
            if not element.deadline.remaining_s():
                duration_ms = element.deadline.duration_ms
                return DeadlineExceeded(
                    f"no answer from {target} within {duration_ms:g} ms; give the stream's requests more time, or try "
                    f"again",
                    target,
                    "DEADLINE_EXCEEDED",
                )
        return None

    def _refused(self, element: Element, error: pb.StreamError) -> None:
        if error.code == grpc.StatusCode.UNAVAILABLE.name:
            return  # the server is stopping: this goes to another one when it has ended the stream
        if error.code == grpc.StatusCode.INVALID_ARGUMENT.name and len(element.items) > 1:
            del self._sent[element.name]  # one may be at fault: each is told, or answered, for itself
            self._alone.extend(element.items)
            return
        raise Failure(error.code, error.message, error.retry_after_ms)


def key_and_image(pair: object) -> tuple[object, object]:
    """What `classify_stream` is given for one image. Raises InvalidInput for anything but a pair."""
    if isinstance(pair, tuple) and len(pair) == 2:
        return pair
    raise InvalidInput(f"classify_stream takes tuples (id, image), not a {type(pair).__name__}; see enumerate()")


def require_iterable(items: object) -> None:
    """Raises InvalidInput for what is no iterable of pairs."""
    if isinstance(items, str | bytes) or not (isinstance(items, Iterable) or hasattr(items, "__aiter__")):
        raise InvalidInput(f"classify_stream takes an iterable of (id, image), not a {type(items).__name__}")
