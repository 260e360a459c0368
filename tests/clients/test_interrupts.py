"""coalesce=True: a call that is interrupted or cancelled takes itself away, and never the calls it travels with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import covey
from covey import packing
from covey.coalescing import ThreadCoalescer, ThreadItem
from covey.connection import Deadline
from covey.inputs import EncodedPart
from covey.messages import Asked, not_sent

if TYPE_CHECKING:
    from .conftest import ScriptedServer

ANSWER = not_sent(covey.InvalidInput("answered"))


def _item(name: str) -> ThreadItem:
    return ThreadItem(EncodedPart((0,), (name,), (b"x",)), Asked(), Deadline(60_000))


class Sending:
    """What stands for the network: requests wait until they are let through, in turn; some are interrupted."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.interrupts: Callable[[list[str]], bool] = lambda names: False
        self.arrived = threading.Semaphore(0)
        self.lets_through = threading.Semaphore(0)

    def __call__(self, items: list[ThreadItem], deadline: Deadline) -> None:
        names = [item.part.names[0] for item in items if isinstance(item.part, EncodedPart)]
        self.requests.append(names)
        self.arrived.release()
        assert self.lets_through.acquire(timeout=30)
        if self.interrupts(names):
            raise KeyboardInterrupt
        for item in items:
            item.settle(ANSWER)


@contextmanager
def _full(sending: Sending) -> Iterator[Callable[[str], Future[None]]]:
    """A coalescer with all its requests in flight. What is called with a name gathers; calls gather in order."""
    coalescer = ThreadCoalescer(sending)
    with ThreadPoolExecutor(16) as pool:

        def call(name: str) -> Future[None]:
            waiting = len(coalescer._waiting)
            future = pool.submit(coalescer.settle, _item(name))
            while len(coalescer._waiting) == waiting:  # until it has taken its place in the row
                assert not future.done()
            return future

        first = [pool.submit(coalescer.settle, _item("first")) for _ in range(packing.REQUESTS_IN_FLIGHT)]
        for _ in first:
            assert sending.arrived.acquire(timeout=30)
        yield call
        sending.lets_through.release(100)
        for future in first:
            assert future.exception(timeout=30) is None or sending.interrupts(["first"])


def test_an_interrupt_of_who_sends_for_others_strands_none_of_them() -> None:
    sending = Sending()
    sending.interrupts = lambda names: "leader" in names
    with _full(sending) as call:
        leader, *others = [call(name) for name in ("leader", "a", "b", "c")]
        sending.lets_through.release(100)
        with pytest.raises(KeyboardInterrupt):
            leader.result(timeout=30)
        for other in others:
            other.result(timeout=30)
    assert sending.requests[4:] == [["leader", "a", "b", "c"], ["a", "b", "c"]]


def test_an_interrupt_of_a_call_that_travels_alone_gives_its_place_on() -> None:
    sending = Sending()
    sending.interrupts = lambda names: names == ["first"]
    with _full(sending) as call:
        others = [call(name) for name in ("a", "b")]
        sending.lets_through.release(100)
        for other in others:
            other.result(timeout=30)
    assert sending.requests[4:] == [["a", "b"]]


@pytest.mark.parametrize("cancelled", [slice(0, 1), slice(1, 30), slice(3, 60, 7)], ids=["the first", "some", "others"])
def test_cancelled_tasks_do_not_take_their_neighbours_along(server: ScriptedServer, cancelled: slice) -> None:
    async def run() -> list[str | BaseException]:
        async with covey.AsyncClient(server.target, coalesce=True) as client:
            calls = [asyncio.create_task(client.classify(b"%d" % number)) for number in range(60)]
            await asyncio.to_thread(server.wait_until_held)
            for call in calls[cancelled]:
                call.cancel()
            server.release()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return [answer if isinstance(answer, BaseException) else answer.label for answer in answers]

    server.hold()
    found = asyncio.run(run())
    expected = [str(number) for number in range(60)]
    assert all(isinstance(one, asyncio.CancelledError) for one in found[cancelled])
    gone = range(60)[cancelled]
    assert [one for number, one in enumerate(found) if number not in gone] == [
        one for number, one in enumerate(expected) if number not in gone
    ]


def test_a_task_that_is_cancelled_while_it_waits_is_not_sent(server: ScriptedServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(server.target, coalesce=True) as client:
            places = packing.REQUESTS_IN_FLIGHT + 1  # and the first call, which travels alone
            calls = []
            for place in range(places):
                calls.append(asyncio.create_task(client.classify(b"first")))
                while len(server.requests) <= place:
                    await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(client.classify(b"%d" % number)) for number in range(20)]
            await asyncio.sleep(0)  # all of them have begun
            for call in waiting[::2]:
                call.cancel()
            server.release()
            await asyncio.gather(*calls, *waiting, return_exceptions=True)

    server.hold()
    asyncio.run(run())
    sent = [image for request in server.requests for image in request.encoded.images if image != b"first"]
    assert sent == [b"%d" % number for number in range(1, 20, 2)]
