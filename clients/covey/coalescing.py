"""`coalesce=True`: calls of one image that meet in one client travel as one request.

Nobody waits for company: a call that finds a place among the requests in flight starts at once. Those that find none
gather, and the next request takes them all. No thread or task is kept for it: of the calls that gathered, the oldest
sends for all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from covey import packing
from covey.connection import Deadline
from covey.errors import DeadlineExceeded, ImageError, InvalidInput
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import Asked
from covey.packing import Item, Waiting
from covey.results import Classification


class SharedItem(Item):
    """One call's image. `woken` is set when it is answered, or when it `leads`: is to send what has gathered."""

    __slots__ = ("answered", "deadline", "leads", "woken")

    def __init__(self, part: EncodedPart | PixelsPart, asked: Asked, deadline: Deadline) -> None:
        super().__init__(part, asked)
        self.deadline = deadline
        self.leads = False
        self.answered: asyncio.Future[None] | None = None  # of the tasks; threads have `woken`
        self.woken = threading.Event()

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


class ThreadCoalescer:
    """For calls of threads. `send` sends some items as one request and settles them."""

    def __init__(self, send: Callable[[list[SharedItem], Deadline], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._waiting: Waiting[SharedItem] = Waiting()
        self._in_flight = 0

    def settle(self, item: SharedItem) -> None:
        """Returns once `item` is answered or its deadline has passed."""
        with self._lock:
            starts = self._in_flight < packing.REQUESTS_IN_FLIGHT
            if starts:
                self._in_flight += 1  # nothing waits: else this place would be taken
            else:
                self._waiting.put(item)
        if starts:
            self._lead([item])
            return
        try:
            item.woken.wait(item.deadline.remaining_s())
        finally:  # whatever ended the wait: a place that was given to this call must not be lost
            with self._lock:
                self._waiting.remove(item)
                leads = item.leads
                gathered = self._waiting.take_with(item) if leads else []
        if leads:
            self._lead(gathered)

    def _lead(self, items: list[SharedItem]) -> None:
        """Sends `items`, then gives the place to the oldest that waits."""
        try:
            self._send(items, max(item.deadline for item in items))
        finally:
            with self._lock:
                for item in items:
                    if item.outcome is None:  # an interrupt ended the sending: it was meant for this thread alone
                        self._waiting.put(item)
                    else:
                        item.woken.set()
                oldest = self._waiting.oldest
                if oldest is None:
                    self._in_flight -= 1
                else:
                    oldest.leads = True
                    oldest.woken.set()


class TaskCoalescer:
    """For calls of the tasks of one event loop. `send` as in ThreadCoalescer."""

    def __init__(self, send: Callable[[list[SharedItem], Deadline], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: Waiting[SharedItem] = Waiting()
        self._sending: set[asyncio.Task[None]] = set()

    async def settle(self, item: SharedItem) -> None:
        """As ThreadCoalescer's."""
        item.answered = asyncio.get_running_loop().create_future()
        self._waiting.put(item)
        if len(self._sending) < packing.REQUESTS_IN_FLIGHT:
            task = asyncio.ensure_future(self._send_gathered())  # it begins when this round of the loop has ended
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        try:
            await asyncio.wait([item.answered], timeout=item.deadline.remaining_s())
        finally:
            self._waiting.remove(item)

    async def _send_gathered(self) -> None:
        while items := self._waiting.take():
            await self._send(items, max(item.deadline for item in items))
            for item in items:
                if item.answered is not None and not item.answered.done():
                    item.answered.set_result(None)
