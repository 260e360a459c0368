"""`Client.classify_stream`: one thread takes images in, one reads answers; gRPC's own sends what has gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from covey import forking
from covey.results import Classification
from covey.streaming import Exchange, StreamItem
from covey_proto.v1 import classifier_pb2 as pb

Call = Any  # of grpc: the stubs give its kind no name
OpenStream = Callable[[Iterator[pb.ClassifyStreamRequest]], Call]


class ThreadConversation:
    """One run of `classify_stream`. `talk` opens streams, by `converse`, until all is answered."""

    def __init__(self, exchange: Exchange, talk: Callable[[ThreadConversation], None], target: str) -> None:
        self._exchange = exchange
        self._talk = talk
        self._target = target
        self._changed = threading.Condition()
        self._turn = 0  # counts beginnings and ends of streams: each sends in its own turn only
        self._call: Call = None
        self._taker_waits = False
        self._ended = False
        self._broken: BaseException | None = None
        self._failure: Exception | None = None  # what the caller's iterable raised
        self._generation = forking.generation()

    @property
    def answered(self) -> int:
        return self._exchange.answered

    @property
    def duration_ms(self) -> float:
        return self._exchange.duration_ms

    def remaining_s(self) -> float:
        with self._changed:
            remaining_s = self._exchange.remaining_s()
        return float("inf") if remaining_s is None else remaining_s

    def results(self, items: Iterable[StreamItem]) -> Iterator[tuple[Any, Classification]]:
        """The answers as they are ready. What `items` raises is raised after the answers to what it gave."""
        # Daemons: what is under way when the caller has lost interest must not hold up the exit.
        for work in (lambda: self._take_in(items), lambda: self._talk(self)):
            threading.Thread(target=self._guarded, args=(work,), name="covey-classify-stream", daemon=True).start()
        try:
            while ready := self._wait_for_answers():
                for item in ready:
                    given = self._exchange.give(item)
                    if self._taker_waits:
                        self._notify()
                    yield given
                    forking.require_same(self._generation)
            if self._failure is not None:
                raise self._failure
        finally:
            self._end()

    def converse(self, open_stream: OpenStream, target: str) -> None:
        """Sends what is to be sent by one stream, until all is answered. Raises grpc.RpcError where it breaks."""
        with self._changed:
            if self._ended:
                return
            self._exchange.take_back()
            self._turn += 1
            self._call = open_stream(self._elements(self._turn))
        try:
            for message in self._call:
                with self._changed:
                    self._exchange.answer(message, target)
                    self._changed.notify_all()
            with self._changed:
                self._exchange.require_finished()
        except grpc.RpcError:
            if not self._ended:
                raise
        finally:
            self._call.cancel()  # nothing, where it ended by itself
            with self._changed:
                self._turn += 1
                self._changed.notify_all()

    def _elements(self, turn: int) -> Iterator[pb.ClassifyStreamRequest]:
        exchange = self._exchange
        while True:
            with self._changed:
                self._changed.wait_for(lambda: turn != self._turn or exchange.has_element or exchange.finished)
                if turn != self._turn or exchange.finished:
                    return
                element = exchange.take_element()
                self._changed.notify_all()  # there is a deadline to wait for now
            yield element.message()

    def _take_in(self, items: Iterable[StreamItem]) -> None:
        exchange = self._exchange
        try:
            for item in items:
                with self._changed:
                    exchange.put(item)
                    if exchange.ready or exchange.has_element:
                        self._changed.notify_all()
                    if exchange.full:
                        self._taker_waits = True
                        self._changed.wait_for(lambda: self._ended or not exchange.full)
                        self._taker_waits = False
                    if self._ended:
                        return
        except Exception as error:  # noqa: BLE001 - raised where the caller waits
            self._failure = error
        with self._changed:
            exchange.taken_all = True
            self._changed.notify_all()

    def _wait_for_answers(self) -> list[StreamItem]:
        """Empty at the end. Raises what ended the stream before it."""
        exchange = self._exchange
        with self._changed:
            while not (exchange.ready or exchange.finished or self._broken):
                expired = exchange.expired(self._target)
                if expired is not None:
                    raise expired
                self._changed.wait(exchange.remaining_s())
            if self._broken is not None and not exchange.ready:
                raise self._broken
            return exchange.take_ready()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised where the caller waits
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _end(self) -> None:
        if self._generation != forking.generation():
            return  # the threads are the parent's; the lock may be held by one of them
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            unfinished = not self._exchange.finished
        if unfinished and self._call is not None:
            self._call.cancel()
