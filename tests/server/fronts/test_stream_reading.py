"""How much of a stream is read, and when: one stream on an event loop, with a caller who sends without end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from covey_server.calls import status
from covey_server.calls.call import Call
from covey_server.calls.service import Element, Services, StreamMethod
from covey_server.errors import Overloaded
from covey_server.fronts.stream import MAX_BYTES, MAX_ELEMENTS
from covey_server.fronts.streams import Streams

PATIENCE_S = 30.0


class Plain(Element):
    """A message that is its own request, and its own answer."""

    def open(self, message: bytes) -> bytes:
        return message

    def reply(self, payload: bytes) -> bytes:
        return payload

    def fail(self, status: status.Status) -> bytes:
        return status.message.encode()


class Caller:
    """Sends `message` again and again, and takes every answer."""

    def __init__(self, message: bytes, time_remaining_s: float | None = None) -> None:
        self.answers: list[bytes] = []
        self._message = message
        self._time_remaining_s = time_remaining_s

    def time_remaining(self) -> float | None:
        return self._time_remaining_s

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def send_initial_metadata(self, metadata: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._message

    async def write(self, message: bytes) -> None:
        self.answers.append(message)


class Reading:
    """A stream that is served, and the calls it was read as."""

    def __init__(self, caller: Caller, handler: Callable[[Call], None] = lambda call: None) -> None:
        self.calls: list[Call] = []
        self.streams = Streams(2**40, None, {})

        def take(call: Call) -> None:
            self.calls.append(call)
            handler(call)

        services = Services((), begin=lambda inline: None, written=lambda count, caller: None)
        serve: Any = self.streams.handler(StreamMethod(take, Plain), services)
        self.task = asyncio.ensure_future(serve(None, caller))

    async def settle(self) -> int:
        """Until it reads no more; how many calls there are."""
        seen = -1
        while len(self.calls) > seen:
            seen = len(self.calls)
            for _ in range(20):
                await asyncio.sleep(0)
        return seen

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(in_time())


@pytest.mark.parametrize(
    ("message_bytes", "expected"), [(1, MAX_ELEMENTS), (MAX_BYTES // 4, 4), (MAX_BYTES // 4 + 1, 4), (2 * MAX_BYTES, 1)]
)
def test_a_stream_is_read_as_far_as_it_may_hold_and_further_as_it_is_answered(
    message_bytes: int, expected: int
) -> None:
    async def test() -> None:
        reading = Reading(caller := Caller(bytes(message_bytes)))
        assert await reading.settle() == expected
        assert reading.streams.held.bytes == expected * message_bytes
        reading.calls[0].reply(b"")
        assert await reading.settle() == expected + 1
        assert caller.answers == [b""]
        await reading.end()
        assert reading.streams.held.bytes == 0

    run(test)


def test_an_answer_that_comes_after_the_streams_end_is_not_counted() -> None:
    async def test() -> None:
        reading = Reading(Caller(b"message"))
        await reading.settle()
        await reading.end()
        assert all(call.cancelled for call in reading.calls)
        reading.calls[0].reply(bytes(1_000))
        await reading.settle()
        assert reading.streams.held.bytes == 0

    run(test)


def test_a_streams_deadline_is_that_of_its_calls() -> None:
    async def test() -> None:
        before_ns = time.monotonic_ns()
        reading = Reading(Caller(b"", time_remaining_s=500))
        await reading.settle()
        for call in reading.calls:
            assert call.deadline_ns is not None
            assert before_ns + 500e9 <= call.deadline_ns <= time.monotonic_ns() + 500e9
        await reading.end()

    run(test)


def test_what_finds_no_room_is_tried_again_at_least_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    sleep = asyncio.sleep

    async def note(pause_s: float) -> None:
        pauses_s.append(pause_s)
        await sleep(0)

    def refuse(call: Call) -> None:
        if len(pauses_s) < 12:
            call.fail(status.of(Overloaded("full")))
        else:
            call.reply(b"answer")

    async def test() -> None:
        caller = Caller(b"message")
        monkeypatch.setattr(asyncio, "sleep", note)
        reading = Reading(caller, refuse)
        while not caller.answers:
            await sleep(0)
        monkeypatch.undo()
        await reading.end()
        assert caller.answers[0] == b"answer"
        assert pauses_s[:4] == [0.005, 0.01, 0.02, 0.04]
        assert pauses_s[7:12] == [0.25] * 5

    run(test)
