"""classify_stream against Covey's own server, by each way to it: bounds by counts, servers that come and go, errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench.processes import fetch
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer

import covey

from .conftest import WAYS, covey_servers

IMAGES = 6_000
IN_FLIGHT = 512


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(way: str) -> Iterator[StartServer]:
    with covey_servers(way) as start:
        yield start


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    write_echo_model(tmp_path / "models", "echo")
    write_echo_model(tmp_path / "models", "colour", version=7, shape=(2, 3, 3), classes=18)
    return tmp_path / "models"


class Source:
    """Images whose answers are known, and how many were taken."""

    def __init__(self, count: int = IMAGES) -> None:
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
        for number in range(self.count):
            self.taken = number + 1
            image = np.zeros((4, 4), np.uint8)
            image.flat[number % 10] = 200
            yield number, image


def computed(server: Server) -> int:
    """By the server's own metrics."""
    found = re.search(r'^covey_images_total{model="echo",version="1"} (\S+)$', fetch(server.metrics_url), re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_a_reader_that_stops_stops_the_server(start: StartServer, models: Path) -> None:
    server, source = start(models, default_model="echo"), Source()
    with covey.Client(server.target) as client:
        answers = client.classify_stream(source, in_flight=IN_FLIGHT)
        keys = {next(answers)[0] for _ in range(100)}
        while (source.taken, computed(server)) != (100 + IN_FLIGHT, 100 + IN_FLIGHT):
            assert computed(server) <= source.taken <= 100 + IN_FLIGHT
        for key, found in answers:
            keys.add(key)
            assert found.index == key % 10
            assert source.taken <= len(keys) + IN_FLIGHT
    assert keys == set(range(IMAGES))
    assert computed(server) == IMAGES, "each was computed once"


def test_a_task_that_stops_reading_stops_the_server(start: StartServer, models: Path) -> None:
    server, source = start(models, default_model="echo"), Source(3_000)

    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            answers = client.classify_stream(source, in_flight=IN_FLIGHT)
            keys = {(await anext(answers))[0]}
            while (source.taken, await asyncio.to_thread(computed, server)) != (1 + IN_FLIGHT, 1 + IN_FLIGHT):
                assert source.taken <= 1 + IN_FLIGHT
            async for key, found in answers:
                keys.add(key)
                assert found.index == key % 10
                assert source.taken <= len(keys) + IN_FLIGHT
            assert keys == set(range(3_000))

    asyncio.run(run())
    assert computed(server) == 3_000


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_restart_loses_no_answer_and_gives_none_twice(way: str, models: Path, kind: str) -> None:
    source, found = Source(), list[tuple[int, int]]()
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        server = first.enter_context(covey_servers(way))(models, default_model="echo")
        ports = {"http_port": server.http_port} if way == "http" else {"grpc_port": server.app.front.port}

        def restart() -> None:
            first.close()
            second.enter_context(covey_servers(way))(models, default_model="echo", **ports)

        if kind == "Client":
            with covey.Client(server.target, retries=20) as client:
                for key, answer in client.classify_stream(source):
                    found.append((key, answer.index))
                    if len(found) == IMAGES // 10:
                        restart()
        else:

            async def run() -> None:
                async with covey.AsyncClient(server.target, retries=20) as client:
                    async for key, answer in client.classify_stream(source):
                        found.append((key, answer.index))
                        if len(found) == IMAGES // 10:
                            await asyncio.to_thread(restart)

            asyncio.run(run())
    assert sorted(found) == [(number, number % 10) for number in range(IMAGES)]


def test_what_is_asked_reaches_the_server_and_its_errors_come_back(start: StartServer, models: Path) -> None:
    server = start(models, default_model="echo")
    colour = np.full((2, 3, 3), 9, np.uint8)
    with covey.Client(server.target) as client:
        ((key, answer),) = client.classify_stream([("c", colour)], model="colour", version=7, top_k=3)
        assert (key, answer.model, answer.version, len(answer.classes)) == ("c", "colour", 7, 3)
        assert answer.timing.round_trip_us > answer.timing.total_us > 0
        with pytest.raises(covey.UnknownModel, match="model 'nobody' is not served here"):
            list(client.classify_stream([(1, colour)], model="nobody"))
        with pytest.raises(covey.InvalidRequest, match="height 2, width 3, 3 channel"):
            list(client.classify_stream([(1, colour)]))
        with pytest.raises(covey.DeadlineExceeded, match=r"no answer from .* within 0\.01 ms"):
            list(client.classify_stream([(1, colour)], model="colour", deadline_ms=0.01))


def test_encoded_images_beyond_what_is_decoded_at_once_wait(start: StartServer, models: Path) -> None:
    server = start(models, default_model="echo", max_decodes=8)
    bad = [(number, b"no image %d" % number) for number in range(2_000)]
    with covey.Client(server.target) as client:
        found = dict(client.classify_stream(bad))
    assert all(isinstance(found[number].error, covey.InvalidImage) for number in range(2_000))
