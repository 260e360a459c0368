"""`embedding=True`: each answer has its image's vector, in each way to call."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import covey
from covey.cli import main
from covey.testing import FakeServer

from .conftest import ScriptedServer

FILES = [b"x" * length for length in (3, 1, 2)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    def answer(image: bytes) -> str:
        if image == b"bad":
            raise ValueError("no image")
        return "cat"

    with FakeServer(answer=answer, embedding=lambda image: [len(image), -0.5]) as running:
        yield running


def vector(answer: covey.Classification) -> list[float]:
    assert answer.embedding is not None
    assert answer.embedding.dtype == np.float32
    return [float(number) for number in answer.embedding]


def test_each_way_to_call(server: FakeServer) -> None:
    with covey.Client(server.target) as client:
        assert vector(client.classify(b"four", embedding=True)) == [4, -0.5]
        found = [vector(each) for each in client.classify(FILES, embedding=True)]
        assert found == [[3, -0.5], [1, -0.5], [2, -0.5]]
        assert [vector(each) for each in client.classify_many(FILES, embedding=True)] == found
        streamed = dict(client.classify_stream(enumerate(FILES), embedding=True))
        assert [vector(streamed[place]) for place in range(3)] == found


def test_each_way_to_await(server: FakeServer) -> None:
    async def ask() -> None:
        async with covey.AsyncClient(server.target) as client:
            assert vector(await client.classify(b"four", embedding=True)) == [4, -0.5]
            assert [vector(each) for each in await client.classify(FILES, embedding=True)][1] == [1, -0.5]
            assert [vector(each) async for each in client.classify_many(FILES, embedding=True)][2] == [2, -0.5]
            streamed = {key: each async for key, each in client.classify_stream(enumerate(FILES), embedding=True)}
            assert vector(streamed[0]) == [3, -0.5]

    asyncio.run(ask())


def test_where_it_is_not_asked_for_there_is_none(server: FakeServer) -> None:
    with covey.Client(server.target) as client:
        plain, deep = client.classify(b"four"), client.classify(b"four", embedding=True)
        assert plain.embedding is None
        assert plain.classes == deep.classes
        assert "embedding" not in repr(deep)
        assert vector(pickle.loads(pickle.dumps(deep))) == [4, -0.5]
        assert pickle.loads(pickle.dumps(plain)).embedding is None


def test_an_image_that_cannot_be_read_has_none(server: FakeServer) -> None:
    with covey.Client(server.target) as client:
        good, bad = client.classify([b"good", b"bad"], embedding=True)
        assert vector(good) == [4, -0.5]
        assert isinstance(bad.error, covey.InvalidImage)
        assert bad.embedding is None


def test_calls_that_travel_together_ask_alike(server: FakeServer) -> None:
    """A request has the option for all its images, so that those who ask otherwise travel by another one."""
    with covey.Client(server.target, coalesce=True) as client, ThreadPoolExecutor(16) as pool:
        asked = [bool(place % 2) for place in range(64)]
        answers = list(pool.map(lambda embedding: client.classify(b"four", embedding=embedding), asked))
    assert [answer.embedding is not None for answer in answers] == asked


def test_models_tell_of_it(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    with covey.Client(server.target) as client:
        model = client.model()
    assert model.embedding_size == 2
    assert model.serving is not None
    assert model.serving.digest
    assert main(["info", "--target", server.target]) == 0
    assert ["embedding", "2", "numbers"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_model_without_one() -> None:
    with FakeServer() as plain, covey.Client(plain.target) as client:
        assert client.model().embedding_size == 0
        with pytest.raises(covey.InvalidRequest, match="publishes no embedding"):
            client.classify(b"four", embedding=True)


def test_it_is_true_or_false(server: FakeServer) -> None:
    with covey.Client(server.target) as client, pytest.raises(covey.InvalidInput, match="embedding 'yes' cannot be"):
        client.classify(b"four", embedding="yes")  # type: ignore[call-overload]


def test_a_server_from_before_it_is_told_from_one_with_it() -> None:
    old = ScriptedServer()
    try:
        with covey.Client(old.target) as client:
            assert client.classify(b"cat").label == "cat"
            with pytest.raises(covey.ServerError, match="it is older than they are"):
                client.classify(b"cat", embedding=True)
            with pytest.raises(covey.ServerError, match="it is older than they are"):
                list(client.classify_many([b"cat"], embedding=True))
    finally:
        old.stop()
