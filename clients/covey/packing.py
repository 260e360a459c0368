"""Single images that travel together: which of those that wait go into one request, and who gets which answer.

Knows no threads and no event loop; whoever uses it guards it.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from covey import messages
from covey.connection import Deadline
from covey.errors import CoveyError, InvalidInput, InvalidRequest
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import Asked
from covey.results import Classification
from covey.session import Session, Steps

MOST_IMAGES = 128  # of one request
MOST_BYTES = 1 << 20  # of one request of more than one image: well below what servers take
MOST_WAITING_BYTES = 64 << 20  # of images that were taken in and are not answered yet
REQUESTS_IN_FLIGHT = 4  # enough to keep the workers of a few servers busy; the more, the smaller each is


class Item:
    """One image on its way. `outcome` is None until it is answered."""

    __slots__ = ("asked", "nbytes", "outcome", "part")

    def __init__(self, part: EncodedPart | PixelsPart, asked: Asked) -> None:
        self.part: EncodedPart | PixelsPart | None = part
        self.asked = asked
        self.nbytes = part.nbytes
        self.outcome: Classification | CoveyError | None = None

    def settle(self, outcome: Classification | CoveyError) -> None:
        self.outcome = outcome
        self.part = None  # its pixels need not wait for whoever reads the answer

    def result(self) -> Classification:
        """The answer. Raises the CallError of its request."""
        if isinstance(self.outcome, CoveyError):
            raise self.outcome
        if self.outcome is None:
            raise AssertionError("an image was asked for before it was answered; this is a bug")
        return self.outcome

    @property
    def kind(self) -> tuple[object, ...]:
        """Images of one kind fit one request."""
        if isinstance(self.part, PixelsPart):
            return (self.asked, self.part.height, self.part.width, self.part.channels)
        return (self.asked,)


ItemT = TypeVar("ItemT", bound=Item)


class Waiting(Generic[ItemT]):
    """The images that wait to be sent, in the order in which they came."""

    def __init__(self) -> None:
        self._items: deque[ItemT] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: ItemT) -> None:
        self._items.append(item)

    def remove(self, item: ItemT) -> None:
        """Takes `item` out, if it still waits."""
        if item in self._items:
            self._items.remove(item)

    @property
    def oldest(self) -> ItemT | None:
        return self._items[0] if self._items else None

    def take_with(self, item: ItemT) -> list[ItemT]:
        """`item`, which does not wait any more, and what fits its request."""
        self._items.appendleft(item)
        return self.take()

    def take(self) -> list[ItemT]:
        """The oldest ones of one kind, as many as fit one request; empty where nothing waits."""
        taken: list[ItemT] = []
        size = 0
        while self._items and len(taken) < MOST_IMAGES:
            item = self._items[0]
            if taken and (item.kind != taken[0].kind or size + item.nbytes > MOST_BYTES):
                break
            size += item.nbytes
            taken.append(self._items.popleft())
        return taken


class Window(Generic[ItemT]):
    """The images of one `classify_many` that were taken in and not yet given out, oldest first."""

    def __init__(self, in_flight: int) -> None:
        if not isinstance(in_flight, int) or in_flight < 1:
            raise InvalidInput(f"in_flight must be a whole number of images above 0, not {in_flight!r}")
        self._in_flight = in_flight
        self._items: deque[ItemT] = deque()
        self._nbytes = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        return len(self._items) >= self._in_flight or self._nbytes >= MOST_WAITING_BYTES

    @property
    def oldest(self) -> ItemT:
        return self._items[0]

    @property
    def ready(self) -> bool:
        """Whether the oldest is answered."""
        return bool(self._items) and self._items[0].outcome is not None

    def put(self, item: ItemT) -> None:
        self._nbytes += item.nbytes
        self._items.append(item)

    def pop(self) -> ItemT:
        item = self._items.popleft()
        self._nbytes -= item.nbytes
        return item


def unsent(error: InvalidInput, asked: Asked) -> Item:
    """What stands for an image that cannot be sent: answered already."""
    item = Item(EncodedPart((0,), ("",), ()), asked)
    item.settle(messages.not_sent(error))
    return item


def require_iterable(images: object) -> None:
    """Raises InvalidInput for what `classify` takes and `classify_many` does not: one image."""
    iterable = hasattr(images, "__iter__") or hasattr(images, "__aiter__")
    if isinstance(images, str | bytes | bytearray | memoryview) or not iterable or hasattr(images, "read"):
        raise InvalidInput(f"classify_many takes an iterable of images, not a {type(images).__name__}; use classify")


def send(session: Session, items: Sequence[Item], deadline: Deadline) -> Steps[None]:
    """Sends `items`, all of one kind, as one request, and settles each of them. Raises nothing of the SDK's."""
    parts = [item.part for item in items if item.part is not None]
    try:
        part = _merged(parts)
        answer = yield from session.send(messages.request(part, items[0].asked), deadline)
        found = messages.classifications(part, answer)
    except InvalidRequest as error:
        if len(items) == 1:
            items[0].settle(error)
        else:  # one may be at fault: each is told, or answered, for itself
            for item in items:
                yield from send(session, [item], deadline)
    except CoveyError as error:
        for item in items:
            alone = copy.copy(error)  # raised by several threads: each needs a traceback of its own
            alone.__cause__ = error.__cause__
            item.settle(alone)
    else:
        for item, classification in zip(items, found, strict=True):
            item.settle(classification)


def _merged(parts: Sequence[EncodedPart | PixelsPart]) -> EncodedPart | PixelsPart:
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, PixelsPart):
        data = b"".join([part.data for part in parts if isinstance(part, PixelsPart)])
        return PixelsPart(range(len(parts)), data, first.height, first.width, first.channels)
    encoded = [part for part in parts if isinstance(part, EncodedPart)]
    return EncodedPart(range(len(encoded)), [part.names[0] for part in encoded], [part.files[0] for part in encoded])
