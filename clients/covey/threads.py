"""`Client.classify_many`: images are taken in by the caller's own thread, a few threads send what has gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from covey import forking, packing
from covey.connection import Deadline
from covey.packing import Item, Waiting, Window
from covey.results import Classification


class ThreadStream:
    """One run of `classify_many`. `send` sends some images as one request and settles them."""

    def __init__(self, send: Callable[[list[Item], Deadline], Any], deadline: Callable[[], Deadline]) -> None:
        self._send = send
        self._deadline = deadline
        self._waiting: Waiting[Item] = Waiting()
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._broken: BaseException | None = None
        self._ended = False
        self._generation = forking.generation()

    def results(self, items: Iterable[Item], window: Window[Item]) -> Iterator[Classification]:
        """One answer per item, in order. An item is taken from `items` only while `window` has room.

        What `items` raises is raised after the answers to what it gave; an interrupt after those that are ready.
        """
        failure: BaseException | None = None
        source = iter(items)
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except BaseException as error:  # noqa: BLE001 - raised below
                    failure = error
                    break
                forking.require_same(self._generation)
                window.put(item)
                if item.outcome is None:
                    self._put(item)
                while window and (window.ready or window.full):
                    yield self._await(window)
            while window.ready if failure is not None and not isinstance(failure, Exception) else window:
                yield self._await(window)
            if failure is not None:
                raise failure
        finally:
            self._end()

    def _end(self) -> None:
        if self._generation != forking.generation():
            return  # the threads are the parent's; the lock may be held by one of them
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _await(self, window: Window[Item]) -> Classification:
        forking.require_same(self._generation)
        item = window.oldest
        if item.outcome is None:
            with self._changed:
                self._changed.wait_for(lambda: item.outcome is not None or self._broken is not None)
                if self._broken is not None:
                    raise self._broken
        return window.pop().result()

    def _put(self, item: Item) -> None:
        with self._changed:
            self._waiting.put(item)
            if self._idle:
                self._changed.notify_all()
            elif self._threads < packing.REQUESTS_IN_FLIGHT:
                self._threads += 1
                # A daemon: what is still under way when the caller has lost interest must not hold up the exit.
                threading.Thread(target=self._send_gathered, name="covey-classify-many", daemon=True).start()

    def _send_gathered(self) -> None:
        try:
            while self._send_once():
                pass
        except BaseException as error:  # noqa: BLE001 - raised where the caller waits
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _send_once(self) -> bool:
        """One request of what has gathered. False at the end."""
        items = self._take()
        if items is None:
            return False
        self._send(items, self._deadline())
        with self._changed:
            self._changed.notify_all()
        return True

    def _take(self) -> list[Item] | None:
        """What has gathered; waits for it. None at the end."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._idle -= 1
            return None if self._ended else self._waiting.take()
