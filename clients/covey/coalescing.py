"""`coalesce=True`: calls of one image that meet in one client travel as one request.

Nobody waits for company: a call that finds a place among the requests in flight starts at once. Those that find none
gather, and the next request takes them all. No thread or task is kept for it: of the threads that gathered, the one
whose deadline is the last sends for all; among tasks, those that send end when nothing waits.
"""

from __future__ import annotations

import asyncio
import math
import operator
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence

from covey import packing
from covey.connection import Deadline
from covey.errors import DeadlineExceeded, ImageError, InvalidInput
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import ClassifyOptions
from covey.packing import Item, Waiting
from covey.results import Classification


class SharedItem(Item):
    """One call's image."""

    __slots__ = ("deadline",)

    def __init__(self, part: EncodedPart | PixelsPart, options: ClassifyOptions, deadline: Deadline) -> None:
        super().__init__(part, options)
        self.deadline = deadline

    def classification(self, target: str) -> Classification:
        """The answer. Raises what the call would have raised alone."""
        if self.outcome is None:
            duration_ms = self.deadline.duration_ms
            raise DeadlineExceeded(
                f"no answer from {target} within {duration_ms:g} ms; give the call more time, or try again",
                target,
                "DEADLINE_EXCEEDED",
            )
        found = self.result()
        if isinstance(found.error, ImageError | InvalidInput):
            raise found.error
        return found


class ThreadItem(SharedItem):
    """A thread's. `woken`, where it has to wait, is set when it is answered, or is to send what `gathered`, itself
    included. It has `left` when its thread waits no more."""

    __slots__ = ("gathered", "left", "woken")
    woken: threading.Event
    gathered: Sequence[ThreadItem]
    left: bool

    def wait(self) -> None:
        """Until it is woken, or its deadline has passed."""
        self.woken.wait(self.deadline.remaining_s())

    def wake(self) -> None:
        self.woken.set()


class TaskItem(SharedItem):
    """A task's. `settled` is done when the task need not wait any more, or when it was cancelled."""

    __slots__ = ("settled",)
    settled: asyncio.Future[None]

    def wake(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def fail(self, error: Exception) -> None:
        """`error` is what the task's wait ends with."""
        if not self.settled.done():
            self.settled.set_exception(error)


_end_s = operator.attrgetter("deadline.end_s")


class ThreadCoalescer:
    """For calls of threads. `send` sends some items as one request and settles them."""

    def __init__(self, send: Callable[[Sequence[ThreadItem], Deadline], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._waiting: Waiting[ThreadItem] = Waiting()
        self._in_flight = 0

    def settle(self, item: ThreadItem) -> None:
        """Returns once `item` is answered or its deadline has passed."""
        with self._lock:
            starts = self._in_flight < packing.REQUESTS_IN_FLIGHT
            if starts:
                self._in_flight += 1  # nothing waits: else this place would be taken
            else:
                item.woken, item.gathered, item.left = threading.Event(), (), False
                self._waiting.put(item)
        if starts:
            self._lead(item, [item])
            return
        try:
            item.wait()
        except BaseException:  # an interrupt: a place that was given to this call must not be lost
            with self._lock:
                self._leave(item)
                if item.gathered:
                    self._give_on(item, item.gathered)
            raise
        with self._lock:
            self._leave(item)
        if item.gathered:
            self._lead(item, item.gathered)

    def _leave(self, item: ThreadItem) -> None:
        item.left = True
        self._waiting.remove(item)

    def _lead(self, leader: ThreadItem, items: Sequence[ThreadItem]) -> None:
        """Sends `items`, of which `leader` is this thread's own, then gives the place on."""
        try:
            self._send(items, leader.deadline)
        finally:
            with self._lock:
                self._give_on(leader, items)

    def _give_on(self, leader: ThreadItem, items: Sequence[ThreadItem]) -> None:
        """The place of `leader`, to those that wait."""
        others = [item for item in items if item is not leader]
        # An interrupt may have ended the sending. It was meant for this thread alone: the others go on, but for those
        # whose deadline has passed meanwhile. They could not lead.
        self._waiting.put_back([item for item in others if item.outcome is None and not item.left])
        for item in others:
            if item.outcome is not None:
                item.wake()
        gathered = self._waiting.take()
        if not gathered:
            self._in_flight -= 1
            return
        next_leader = max(gathered, key=_end_s)  # nobody's call may last longer because it sends for others
        next_leader.gathered = gathered
        next_leader.wake()


class TaskCoalescer:
    """For calls of the tasks of one event loop. `send` as in ThreadCoalescer."""

    def __init__(self, send: Callable[[list[TaskItem], Deadline], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: Waiting[TaskItem] = Waiting()
        self._sending: set[asyncio.Task[None]] = set()
        self._one_alone = False
        self._expiry = Expiry()

    async def settle(self, item: TaskItem) -> None:
        """As ThreadCoalescer's."""
        if self._one_alone or self._sending:
            await self._gathered(item)
            return
        self._one_alone = True  # no other call is under way: this one goes as it would without coalescing
        try:
            await self._send([item], item.deadline)
        finally:
            self._one_alone = False

    def _gathered(self, item: TaskItem) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        item.settled = loop.create_future()
        self._waiting.put(item)
        self._expiry.watch(item, loop)
        if len(self._sending) < packing.REQUESTS_IN_FLIGHT:
            task = loop.create_task(self._send_gathered())  # it begins when this round of the loop has ended
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return item.settled

    async def _send_gathered(self) -> None:
        while taken := self._waiting.take():
            items = [item for item in taken if not item.settled.done()]
            try:
                if items:
                    await self._send(items, max(items, key=_end_s).deadline)
            except Exception as error:  # noqa: BLE001 - raised where the calls wait; a caller's `token` may raise any
                for item in items:
                    item.fail(error)
            finally:
                for item in items:
                    item.wake()
                self._expiry.forget(taken)


class Expiry:
    """Ends the waiting of tasks at their deadlines. One timer for all: one for each would cost more than its image."""

    def __init__(self) -> None:
        self._items: set[TaskItem] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = math.inf

    def watch(self, item: TaskItem, loop: asyncio.AbstractEventLoop) -> None:
        self._items.add(item)
        if item.deadline.end_s < self._rings_s:
            self._set(item.deadline, loop)

    def forget(self, items: Iterable[TaskItem]) -> None:
        self._items.difference_update(items)

    def _set(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_s = deadline.end_s
        self._timer = loop.call_later(deadline.remaining_s(), self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._rings_s = None, math.inf
        late = {item for item in self._items if not item.deadline.remaining_s()}
        self._items -= late
        for item in late:
            item.wake()
        if self._items:
            self._set(min(self._items, key=_end_s).deadline, loop)
