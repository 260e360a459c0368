"""coalesce=True: calls that meet travel together, each gets its own answer, and nobody waits without need."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

import covey
from covey import packing
from covey.coalescing import TaskItem

if TYPE_CHECKING:
    from .conftest import ScriptedServer


def _threads(target: str, images: list[bytes], deadline_ms: float = 20_000) -> list[str]:
    with covey.Client(target, coalesce=True, retries=0) as client, ThreadPoolExecutor(64) as pool:

        def classify(image: bytes) -> str:
            try:
                return client.classify(image, deadline_ms=deadline_ms).label
            except covey.CoveyError as error:
                return type(error).__name__

        return list(pool.map(classify, images))


def _tasks(target: str, images: list[bytes], deadline_ms: float = 20_000) -> list[str]:
    async def run() -> list[str]:
        async with covey.AsyncClient(target, coalesce=True, retries=0) as client:

            async def classify(image: bytes) -> str:
                try:
                    return (await client.classify(image, deadline_ms=deadline_ms)).label
                except covey.CoveyError as error:
                    return type(error).__name__

            return await asyncio.gather(*[classify(image) for image in images])

    return asyncio.run(run())


both = pytest.mark.parametrize("classify_all", [_threads, _tasks])


@both
def test_each_call_gets_its_own_answer_in_fewer_requests(server: ScriptedServer, classify_all: type) -> None:
    images = [b"bad" if number % 10 == 3 else b"%d" % number for number in range(600)]
    expected = ["InvalidImage" if image == b"bad" else image.decode() for image in images]
    server.takes_s = 0.01
    assert classify_all(server.target, images) == expected
    assert len(server.requests) < 300
    assert sum(len(request.encoded.images) for request in server.requests) == 600


@both
def test_a_lone_call_travels_alone_and_at_once(server: ScriptedServer, classify_all: type) -> None:
    assert classify_all(server.target, [b"cat"]) == ["cat"]
    assert len(server.requests) == 1


@both
def test_an_error_of_a_request_is_that_of_its_calls(server: ScriptedServer, classify_all: type) -> None:
    server.fail(grpc.StatusCode.INVALID_ARGUMENT, "no")
    assert classify_all(server.target, [b"cat"] * 100) == ["InvalidRequest"] * 100


@both
def test_calls_that_wait_for_a_place_end_at_their_deadline(server: ScriptedServer, classify_all: type) -> None:
    server.hold()
    assert classify_all(server.target, [b"cat"] * 50, 200) == ["DeadlineExceeded"] * 50
    assert len(server.requests) <= 4 * packing.REQUESTS_IN_FLIGHT


def test_each_task_waits_until_its_own_deadline(server: ScriptedServer) -> None:
    """One timer serves them all: set for the first of the deadlines, then for the next."""

    async def run() -> None:
        async with covey.AsyncClient(server.target, coalesce=True, retries=0) as client:
            ended: list[int] = []

            async def classify(deadline_ms: int) -> None:
                try:
                    await client.classify(b"cat", deadline_ms=deadline_ms)
                except covey.DeadlineExceeded:
                    ended.append(deadline_ms)

            calls = [asyncio.create_task(classify(deadline_ms)) for deadline_ms in (20_000, 500, 300, 400, 20_000)]
            await asyncio.to_thread(server.wait_until_held)
            await asyncio.wait(calls[1:4])
            assert ended == [300, 400, 500]
            assert not calls[0].done()
            assert not calls[4].done()
            server.release()
            await asyncio.gather(*calls)
            assert len(ended) == 3

    server.hold()
    asyncio.run(run())


@pytest.mark.parametrize(
    "failure", [covey.InvalidInput("no token"), OSError("no token")], ids=lambda one: type(one).__name__
)
def test_a_token_that_cannot_be_had_is_the_error_of_the_calls_it_was_for(
    server: ScriptedServer, failure: Exception
) -> None:
    known = True

    def token() -> str:
        if known:
            return "a-token"
        raise failure

    async def run() -> None:
        nonlocal known
        async with covey.AsyncClient(server.target, coalesce=True, token=token, deadline_ms=20_000) as client:
            alone = asyncio.create_task(client.classify(b"alone"))
            await asyncio.to_thread(server.wait_until_held)
            known = False
            images = [b"cat"] * (2 * packing.MAX_IMAGES)  # of two requests
            found = await asyncio.gather(*[client.classify(image) for image in images], return_exceptions=True)
            assert {(type(one), str(one)) for one in found} == {(type(failure), "no token")}
            known = True
            server.release()
            answers = await asyncio.gather(*[client.classify(image) for image in images])
            assert [one.label for one in [await alone, *answers]] == ["alone"] + ["cat"] * len(images)

    server.hold()
    asyncio.run(run())


@both
def test_each_call_of_a_request_that_failed_raises_an_error_of_its_own(
    server: ScriptedServer, classify_all: type
) -> None:
    """Raised by several threads, one error would collect the tracebacks of all."""
    errors: list[covey.CoveyError] = []

    def remember(client: covey.Client) -> None:
        try:
            client.classify(b"cat", deadline_ms=20_000)
        except covey.CoveyError as error:
            errors.append(error)

    async def remember_all() -> None:
        async with covey.AsyncClient(server.target, coalesce=True, retries=0) as client:
            calls = [client.classify(b"cat", deadline_ms=20_000) for _ in range(100)]
            errors.extend(await asyncio.gather(*calls, return_exceptions=True))  # type: ignore[arg-type]

    server.takes_s = 0.01
    server.fail(grpc.StatusCode.UNAVAILABLE, "gone")
    if classify_all is _tasks:
        asyncio.run(remember_all())
    else:
        with covey.Client(server.target, coalesce=True, retries=0) as client, ThreadPoolExecutor(64) as pool:
            list(pool.map(remember, [client] * 100))
    assert len(server.requests) < 100, "some travelled together"
    assert {type(error) for error in errors} == {covey.Unavailable}
    assert len({id(error) for error in errors}) == len(errors) == 100
    assert all(isinstance(error.__cause__, grpc.RpcError) for error in errors)


def test_no_more_requests_of_tasks_are_in_flight_than_may_be_and_nothing_is_kept_of_them(
    server: ScriptedServer,
) -> None:
    def items() -> int:
        gc.collect()
        return sum(issubclass(type(each), TaskItem) for each in gc.get_objects())

    async def run() -> None:
        async with covey.AsyncClient(server.target, coalesce=True, retries=0) as client:
            calls = []
            for number in range(100):  # each in a round of the loop of its own: only a full house makes them gather
                calls.append(asyncio.create_task(client.classify(b"%d" % number, deadline_ms=600_000)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            await asyncio.to_thread(server.wait_until_held)
            server.release()
            answers = await asyncio.gather(*calls)
            assert [answer.label for answer in answers] == [str(number) for number in range(100)]
            del calls
            async with asyncio.timeout(60):  # the requests' own tasks have a last step to take
                while items() > before:
                    await asyncio.sleep(0)

    before = items()  # of other tests, whose errors may be kept
    server.hold()
    asyncio.run(run())
    assert len(server.requests) <= 3 * packing.REQUESTS_IN_FLIGHT
