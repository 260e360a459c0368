"""The clients against Covey's own server: replicas that come and go, readiness, limits, images made smaller."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.conftest import WriteModel
from tests.server.conftest import StartServer

import covey
from covey import cli, session

from .conftest import WAYS, covey_servers, fake_server


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
    return tmp_path / "models"


@pytest.fixture
def dead(way: str) -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        yield f"{'http://' * (way == 'http')}127.0.0.1:{bound_but_not_listening.getsockname()[1]}"


def _image(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Its answer's best class is `number % 10`, told by the echo model."""
    image = np.zeros((4, 4), np.uint8)
    image.flat[number % 10] = 200
    return image


def test_a_dead_address_among_three_fails_no_call(start: StartServer, models: Path, dead: str) -> None:
    targets = [start(models).target, dead, start(models).target]
    with covey.Client(targets) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: client.classify(_image(number)).index, range(150)))
    assert answers == [number % 10 for number in range(150)]

    async def run() -> list[int]:
        async with covey.AsyncClient(targets) as client:
            found = await asyncio.gather(*[client.classify(_image(number)) for number in range(150)])
            return [answer.index for answer in found]

    assert asyncio.run(run()) == answers


@pytest.mark.parametrize(
    ("scheme", "transport"),
    [("ipv4:{}", "grpc"), ("{}", "grpc"), ("{}", "http")],
    ids=["several addresses of one name", "a list", "a list of URLs"],
)
def test_every_server_gets_the_same_share(scheme: str, transport: str) -> None:
    """`ipv4:` takes the way that `dns:///` takes: one channel over all that a name stands for, round robin."""
    with fake_server(transport) as first, fake_server(transport) as second:
        with covey.Client(scheme.format(f"{first.target},{second.target}")) as client:
            client.wait_until_ready()
            while not (first.requests and second.requests):  # until both are connected
                client.classify(b"cat")
            before = first.requests, second.requests
            for _ in range(40):
                client.classify(b"cat")
        assert (first.requests, second.requests) == (before[0] + 20, before[1] + 20)


def test_a_target_may_name_several_addresses(start: StartServer, models: Path) -> None:
    ports = [start(models).app.front.port for _ in range(2)]
    for kind, host in (("ipv4", "127.0.0.1"), ("ipv6", "[::ffff:127.0.0.1]")):
        with covey.Client(f"{kind}:" + ",".join(f"{host}:{port}" for port in ports)) as client:
            assert [client.classify(_image(number)).index for number in range(10)] == list(range(10))


def test_wait_until_ready_returns_when_the_server_is(start: StartServer, models: Path, dead: str) -> None:
    server = start(models)
    with covey.Client([dead, server.target]) as client:
        client.wait_until_ready()
    with covey.Client(server.target) as client:
        client.models()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "_READY_PAUSE_S", 100.0)
            client.wait_until_ready(deadline_ms=9_000)  # a tenth of a pause and less: one attempt is always made
    with covey.Client(dead) as client, pytest.raises(covey.DeadlineExceeded, match="not ready after 250 ms") as info:
        client.wait_until_ready(deadline_ms=250)
    assert isinstance(info.value.__cause__, covey.Unavailable)

    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            await client.wait_until_ready()

    asyncio.run(run())


def test_the_servers_limit_is_learnt_and_larger_lists_travel_in_several_requests(
    tmp_path: Path, start: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, "wide", shape=(200, 200, 3))
    limit = 2 << 20
    server = start(tmp_path, max_message_bytes=limit)
    batch = np.zeros((40, 200, 200, 3), np.uint8)
    for number, image in enumerate(batch):
        image.flat[number % 10] = 200
    encoded = [_png(image) for image in batch]
    with covey.Client(server.target) as client:
        for images in (batch, list(batch), list(batch) + encoded):
            answers = client.classify(images)
            assert [answer.index for answer in answers] == [number % 10 for number in range(40)] * (len(answers) // 40)
        with pytest.raises(covey.InvalidInput, match=r"images\[0\]: has .* bytes, the server takes .* in one request"):
            client.classify([b"x" * (limit + 1)])


@pytest.mark.parametrize(("limit", "size"), [(2 << 20, 4 << 20), (100_000, 200_000)])
def test_an_image_above_the_servers_limit_fails_alone(
    tmp_path: Path, start: StartServer, models: Path, capsys: pytest.CaptureFixture[str], limit: int, size: int
) -> None:
    server = start(models, max_message_bytes=limit)
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file in files:
        file.write_bytes(_png(_image(3)))
    files[1].write_bytes(b"x" * size)
    expected = rf"b\.png: has {size:,} bytes, the server takes .* in one request"

    async def run() -> list[list[covey.Classification]]:
        async with covey.AsyncClient(server.target) as client:
            with pytest.raises(covey.InvalidInput, match=expected):
                await client.classify(files[1])
            many = [answer async for answer in client.classify_many(iter(files))]
            streamed = {key: answer async for key, answer in client.classify_stream(enumerate(files))}
            return [many, [streamed[place] for place in range(3)]]

    with covey.Client(server.target) as client:
        with pytest.raises(covey.InvalidInput, match=expected):
            client.classify(files[1])
        found = dict(client.classify_stream(enumerate(files)))
        runs = [list(client.classify_many(files)), [found[place] for place in range(3)], *asyncio.run(run())]
    for first, large, last in runs:
        assert (first.index, last.index) == (3, 3)
        with pytest.raises(covey.InvalidInput, match=expected):
            _ = large.label
    assert cli.main(["classify", *map(str, files), "--target", server.target]) == 1
    out, err = capsys.readouterr()
    assert "error: has " in out.splitlines()[2]
    assert "\n2 of 3 files classified in " in out
    assert err == ""


def _png(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_made_smaller_are_answered_as_the_originals(
    tmp_path: Path, start: StartServer, write_echo_model: WriteModel, kind: str
) -> None:
    write_echo_model(tmp_path, "echo", shape=(8, 8, 3))
    server = start(tmp_path)
    rows, columns = np.mgrid[0:480, 0:640]
    noise = np.random.default_rng(1).normal(0, 12, (480, 640, 3))
    picture = np.clip(np.dstack([rows / 2, columns / 3, (rows + columns) / 5]) + noise, 0, 255).astype(np.uint8)
    path = tmp_path / "picture"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # lying on its side
    PIL.Image.fromarray(picture).save(path, kind, exif=exif)
    with covey.Client(server.target) as plain, covey.Client(server.target, downscale=True) as small:
        for given in (path, path.read_bytes(), PIL.Image.open(path)):
            expected, found = (
                {one.index: one.probability for one in client.classify(given, top_k=10).classes}
                for client in (plain, small)
            )
            assert found == pytest.approx(expected, abs=1.5 / 255)
        assert [one.index for one in small.classify_many([path] * 3)] == [plain.classify(path).index] * 3
