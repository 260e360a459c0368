"""AsyncClient: it is Client, awaited. What both share is tested by test_client.py and test_retries.py."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

import covey

if TYPE_CHECKING:
    from covey.inputs import Image

    from .conftest import ScriptedServer


def test_both_clients_have_the_same_names_parameters_and_documentation() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(covey.Client) == public(covey.AsyncClient)
    for name in public(covey.Client) | {"__init__"}:
        own, other = (inspect.getattr_static(kind, name) for kind in (covey.Client, covey.AsyncClient))
        if not inspect.isfunction(own):
            continue
        assert (
            list(inspect.signature(own).parameters.values())[2:]
            == (list(inspect.signature(other).parameters.values())[2:])
        ), name
        if not name.startswith("_"):
            assert inspect.getdoc(own)
            assert inspect.getdoc(own) == inspect.getdoc(other)


def test_calls_are_awaited_and_many_share_a_client(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"cat")

    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            assert (await client.classify(path)).label == "cat"
            mixed: list[Image] = [b"one", np.full((2, 2), 7, np.uint8)]
            assert [answer.label for answer in await client.classify(mixed)] == ["one", "7"]
            assert [model.name for model in await client.models()] == ["broken", "digits"]
            assert (await client.model()).name == "digits"
            answers = await asyncio.gather(*[client.classify(b"%d" % number) for number in range(200)])
            assert [answer.label for answer in answers] == [str(number) for number in range(200)]

    asyncio.run(run())


def test_errors_are_those_of_the_client_and_the_same_is_tried_again(server: ScriptedServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            server.fail(grpc.StatusCode.UNAVAILABLE, "gone", times=2)
            assert (await client.classify(b"cat")).label == "cat"
            server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", times=1, retry_after="60000")
            with pytest.raises(covey.Overloaded, match="expects room in 60000 ms") as info:
                await client.classify(b"cat")
            assert info.value.retry_after_ms == 60_000
            with pytest.raises(covey.InvalidImage, match="not an image"):
                await client.classify(b"bad")
            with pytest.raises(covey.MissingFile, match="there is no such file"):
                await client.classify("missing.png")

    asyncio.run(run())


def test_a_deadline_ends_a_call(server: ScriptedServer) -> None:
    server.hold()

    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            with pytest.raises(covey.DeadlineExceeded, match="within 50 ms"):
                await client.classify(b"cat", deadline_ms=50)

    asyncio.run(run())


def test_closing_ends_calls_and_cancelling_stays_cancelling(server: ScriptedServer) -> None:
    server.hold()

    async def run() -> None:
        client = covey.AsyncClient(server.target)
        closed, cancelled = (asyncio.ensure_future(client.classify(b"cat")) for _ in range(2))
        await asyncio.to_thread(server.wait_until_held)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await client.close()
        with pytest.raises(covey.ClientClosed, match="was closed during a call"):
            await closed
        with pytest.raises(covey.ClientClosed, match="is closed; make a new one"):
            await client.classify(b"cat")

    asyncio.run(run())


def test_another_event_loop_is_told_apart(server: ScriptedServer) -> None:
    client = covey.AsyncClient(server.target)

    async def models() -> int:
        return len(await client.models())

    async def close() -> None:
        await client.close()

    with asyncio.Runner() as first:
        assert first.run(models()) == 2
        with asyncio.Runner() as second, pytest.raises(covey.WrongEventLoop, match="make one for each loop"):
            second.run(models())
        first.run(close())
