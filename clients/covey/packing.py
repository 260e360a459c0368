"""Single images that travel together: which of those that wait go into one request, and who gets which answer.

Knows no threads and no event loop; whoever uses it guards it.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from covey import inputs, messages
from covey.connection import Deadline
from covey.errors import CoveyError, InvalidInput, InvalidRequest
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import ClassifyOptions
from covey.results import Classification
from covey.session import MIN_LIMIT_BYTES, Session
from covey.steps import Steps

MAX_IMAGES = 128  # of one request
MAX_BYTES = 1 << 20  # of one request of more than one image: well below what servers take
MAX_WAITING_BYTES = 64 << 20  # of images that were taken in and are not answered yet
REQUESTS_IN_FLIGHT = 4  # enough to keep the workers of a few servers busy; the more, the smaller each is


class Item:
    """One image on its way. `outcome` is None until it is answered. Of one that `is_large` it is not sure that the
    server takes it."""

    __slots__ = ("kind", "nbytes", "options", "outcome", "part")

    def __init__(self, part: EncodedPart | PixelsPart, options: ClassifyOptions) -> None:
        self.part: EncodedPart | PixelsPart | None = part
        self.options = options
        self.kind: tuple[object, ...] = (options,)  # images of one kind fit one request
        if isinstance(part, PixelsPart):
            self.kind = (options, part.height, part.width, part.channels)
        self.nbytes = part.nbytes
        self.outcome: Classification | CoveyError | None = None

    @property
    def is_large(self) -> bool:
        return self.nbytes > MIN_LIMIT_BYTES

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


ItemT = TypeVar("ItemT", bound=Item)


class Waiting(Generic[ItemT]):
    """The images that wait to be sent, in the order in which they came."""

    def __init__(self) -> None:
        self._items: deque[ItemT] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: ItemT) -> None:
        self._items.append(item)

    def put_back(self, items: Sequence[ItemT]) -> None:
        """Those that were taken, before all others."""
        self._items.extendleft(reversed(items))

    def remove(self, item: ItemT) -> None:
        """Takes `item` out, if it still waits."""
        if item in self._items:
            self._items.remove(item)

    def take(self) -> list[ItemT]:
        """The oldest ones of one kind, as many as fit one request; empty where nothing waits."""
        if not self._items:
            return []
        first = self._items.popleft()
        taken, size = [first], first.nbytes
        while self._items and len(taken) < MAX_IMAGES:
            item = self._items[0]
            size += item.nbytes
            if size > MAX_BYTES or item.kind != first.kind:
                break
            taken.append(self._items.popleft())
        return taken


class Room:
    """How many images may be held at once, taken in and not yet given out: by number and by bytes.

    One thread may take in while another one gives out.
    """

    def __init__(self, in_flight: int) -> None:
        if not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1:
            raise InvalidInput(f"in_flight must be a whole number of images above 0, not {in_flight!r}")
        self._in_flight = in_flight
        self._entered = self._entered_bytes = 0  # each changed by one side alone
        self._left = self._left_bytes = 0

    @property
    def full(self) -> bool:
        return (
            self._entered - self._left >= self._in_flight or self._entered_bytes - self._left_bytes >= MAX_WAITING_BYTES
        )

    def enter(self, item: Item) -> None:
        self._entered += 1
        self._entered_bytes += item.nbytes

    def leave(self, item: Item) -> None:
        self._left += 1
        self._left_bytes += item.nbytes


class Window(Room, Generic[ItemT]):
    """The images of one `classify_many` that were taken in and not yet given out, oldest first."""

    def __init__(self, in_flight: int) -> None:
        super().__init__(in_flight)
        self._items: deque[ItemT] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def oldest(self) -> ItemT:
        return self._items[0]

    @property
    def ready(self) -> bool:
        """Whether the oldest is answered."""
        return bool(self._items) and self._items[0].outcome is not None

    def put(self, item: ItemT) -> None:
        self.enter(item)
        self._items.append(item)

    def pop(self) -> ItemT:
        item = self._items.popleft()
        self.leave(item)
        return item


def unsent(
    error: InvalidInput, options: ClassifyOptions, made: Callable[[EncodedPart, ClassifyOptions], ItemT]
) -> ItemT:
    """What stands for an image that cannot be sent: answered already."""
    item = made(EncodedPart((0,), ("",), ()), options)
    item.settle(messages.not_sent(error))
    return item


def require_iterable(images: object) -> None:
    """Raises InvalidInput for what `classify` takes and `classify_many` does not: one image."""
    iterable = hasattr(images, "__iter__") or hasattr(images, "__aiter__")
    if isinstance(images, str | bytes | bytearray | memoryview) or not iterable or hasattr(images, "read"):
        raise InvalidInput(f"classify_many takes an iterable of images, not a {type(images).__name__}; use classify")


def judge(session: Session, item: Item, deadline: Deadline) -> Steps[None]:
    """Settles an item that is larger than what the server takes. Raises nothing of the SDK's."""
    if item.part is None:
        return
    try:
        most_bytes = yield from session.most_bytes(item.options, deadline)
    except CoveyError as error:
        item.settle(error)
        return
    try:
        inputs.require_fits(item.part, most_bytes)
    except InvalidInput as error:
        item.settle(messages.not_sent(error))


def send(session: Session, items: Sequence[Item], deadline: Deadline) -> Steps[None]:
    """Sends `items`, all of one kind, as one request, and settles each of them. Raises nothing of the SDK's."""
    try:
        part = merged(items)
        answer = yield from session.send(messages.request(part, items[0].options), deadline)
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


def merged(items: Sequence[Item]) -> EncodedPart | PixelsPart:
    """The images of items of one kind that are not answered, as one part."""
    parts = [item.part for item in items if item.part is not None]
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, PixelsPart):
        data = b"".join([part.data for part in cast("Sequence[PixelsPart]", parts)])
        return PixelsPart(range(len(parts)), data, first.height, first.width, first.channels)
    encoded = cast("Sequence[EncodedPart]", parts)
    return EncodedPart(range(len(encoded)), [part.names[0] for part in encoded], [part.files[0] for part in encoded])
