"""What only HTTP brings: URLs, proxies and others that answer in a server's place, slow answers, connections kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.processes import covey_server
from tests.conftest import WriteModel

import covey
from covey import cli
from covey.connection import is_local, normalised_targets
from covey.over_http import connections, reading
from covey.testing import FakeServer

from .conftest import ScriptedServer, fake_server
from .gateway import Gateway

FORBIDDEN = (b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n", b"<h1>no</h1>")


class Stub:
    """Answers each request on each connection by bytes, until `stop`. `requests` are those that came, each whole."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        self.requests: list[bytes] = []
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while True:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (more := connection.recv(65_536)):
                        return
                    request += more
                head, _, body = request.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                while length and len(body) < int(length[1]):
                    body += connection.recv(65_536)
                self.requests.append(head + b"\r\n\r\n" + body)
                self._answer(connection)

    def stop(self) -> None:
        for each in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextlib.contextmanager
def stub(head: bytes, body: bytes = b"") -> Iterator[Stub]:
    """A server that answers everything so."""
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    server = Stub(lambda connection: connection.sendall(whole))
    try:
        yield server
    finally:
        server.stop()


def failure(target: str, **settings: Any) -> covey.CallError:
    """What a call of either client fails with; both the same."""
    with covey.Client(target, **{"retries": 0, **settings}) as client, pytest.raises(covey.CallError) as caught:
        client.models()

    async def ask() -> str:
        async with covey.AsyncClient(target, **{"retries": 0, **settings}) as client:
            with pytest.raises(covey.CallError) as caught:
                await client.models()
            return repr(caught.value)

    assert asyncio.run(ask()) == repr(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        ("http://vision:8000/", ("http://vision:8000",)),
        ("HTTPS://Vision", ("https://vision",)),
        ("http://[::1]:8000", ("http://[::1]:8000",)),
        ("http://edge/covey/", ("http://edge/covey",)),
        ("http://a:8000, http://b:8000", ("http://a:8000", "http://b:8000")),
        (["http://a", "http://a/"], ("http://a",)),
    ],
)
def test_urls_are_targets(given: str | list[str], normalised: tuple[str, ...]) -> None:
    assert normalised_targets(given) == normalised
    covey.Client(given).close()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("http://", "names no server"),
        ("http:///path", "names no server"),
        ("http://a:port", "cannot be read"),
        ("http://a:99999", "cannot be read"),
        ("http://a:0", "names no server"),
        ("http://a b", "names no server"),
        ("http://user:secret@a:8000", "has a user, a query or a fragment beside 'http://a:8000'"),
        ("http://a?x=1", "has a user, a query"),
        ("http://a,b:8001", "of several kinds, gRPC, http://"),
        ("http://a,https://b", "of several kinds, http://, https://"),
        ("grpc://a:8001", "is a URL; give host and port alone"),
    ],
)
def test_what_is_no_url_of_a_server(target: str, text: str) -> None:
    for kind in (covey.Client, covey.AsyncClient):
        with pytest.raises(covey.InvalidInput, match=re.escape(text)) as caught:
            kind(target)
        assert "secret" not in str(caught.value)


def test_a_host_whose_international_name_means_nothing_is_not_reached() -> None:
    with covey.Client("http://xn--a.invalid:8000", retries=0) as client, pytest.raises(covey.Unavailable):
        client.models()


def test_the_scheme_and_tls_must_agree() -> None:
    with pytest.raises(covey.InvalidInput, match="has no TLS; write https://"):
        covey.Client("http://a", tls=True)
    with pytest.raises(covey.InvalidInput, match="has TLS, and tls=False"):
        covey.Client("https://a", tls=False)
    covey.Client("https://a", token="t").close()
    covey.Client("http://a", token="t", tls=False).close()
    with pytest.raises(covey.InvalidInput, match="for everybody on the way to read; write https://"):
        covey.Client("http://a", token="t")


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("http://localhost:8000", True), ("https://127.0.0.1/covey", True), ("http://[::1]:8000", True),
        ("http://localhost.evil.example", False), ("http://127.0.0.1.example", False), ("http://gpu-7:8000", False),
    ],
)  # fmt: skip
def test_which_urls_stay_on_this_machine(target: str, local: bool) -> None:
    assert is_local(target) is local


@pytest.mark.parametrize(
    ("head", "body", "kind", "text"),
    [
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n",
            b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>",
            covey.Unavailable,
            "no Covey server answers at {} (HTTP 502 Bad Gateway)",
        ),
        (b"HTTP/1.1 503 Busy\r\n", b"", covey.Unavailable, "(HTTP 503 Service Unavailable)"),
        (b"HTTP/1.1 504 Late\r\nContent-Type: text/plain\r\n", b"late\nindeed", covey.Unavailable, ": late indeed)"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n",
            b"<h1>Welcome to the hotel's\n wireless network</h1>",
            covey.ServerError,
            "(HTTP 200 OK, text/html, in place of a message: Welcome to the hotel's wireless network)",
        ),
        (b"HTTP/1.1 200 OK\r\n", b"", covey.ServerError, "(HTTP 200 OK, of no type, in place of a message)"),
        (b"HTTP/1.1 204 No Content\r\n", b"", covey.ServerError, "(HTTP 204 No Content"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n",
            b"\xff\xff\xff",
            covey.ServerError,
            "failed with INTERNAL: the answer is no message",
        ),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere/\r\n",
            b"",
            covey.ServerError,
            "it sends callers to 'https://elsewhere/'; give the address where the server itself is",
        ),
        (*FORBIDDEN, covey.PermissionDenied, "does not allow this call: HTTP 403 Forbidden: no"),
        (b"HTTP/1.1 401 Who\r\n", b"", covey.Unauthenticated, "HTTP 401 Unauthorized"),
        (b"HTTP/1.1 404 None\r\n", b"", covey.ServerError, "is it a Covey server, and new enough? (HTTP 404"),
        (b"HTTP/1.1 413 Large\r\n", b"", covey.InvalidRequest, "refuses the request: HTTP 413"),
        (b"HTTP/1.1 431 Long\r\n", b"", covey.InvalidRequest, "takes no metadata as long as this call's"),
        (b"HTTP/1.1 500 Oh\r\n", b"", covey.ServerError, "failed with INTERNAL: HTTP 500"),
        (b"HTTP/1.1 418 Tea\r\n", b"", covey.ServerError, "failed with UNKNOWN: HTTP 418"),
        (b"HTTP/1.1 799 What\r\n", b"", covey.ServerError, "failed with UNKNOWN: HTTP 799"),
        (
            b"HTTP/1.1 400 Bad\r\nContent-Type: application/problem+json\r\n",
            b'{"detail": "no grpc_status"}',
            covey.ServerError,
            "failed with INTERNAL: HTTP 400 Bad Request: {{",
        ),
        (
            b"HTTP/1.1 400 Bad\r\nContent-Type: application/problem+json\r\n",
            b"[" * 200_000,
            covey.ServerError,
            "failed with INTERNAL: HTTP 400 Bad Request: [[",
        ),
        (b"HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\n", b"<" * 900_000, covey.ServerError, "INTERNAL: HTTP 500"),
        (b"HTTP/1.1 429 Many\r\nRetry-After: 7\r\n", b"", covey.Overloaded, "it expects room in 7000 ms"),
        (b"HTTP/1.1 429 Many\r\nRetry-After: Fri, 31 Dec\r\n", b"", covey.Overloaded, "takes no more: HTTP 429"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", b"", covey.HandshakeFailed, "does not speak HTTP/1.1"),
    ],
)  # fmt: skip
def test_what_others_answer_in_a_servers_place(
    head: bytes, body: bytes, kind: type[covey.CallError], text: str
) -> None:
    with stub(head, body) as server:
        error = failure(f"http://{server.address}")
    assert type(error) is kind
    assert text.format(f"http://{server.address}") in str(error)


def test_a_proxys_bad_gateway_is_tried_again_as_a_server_that_is_away() -> None:
    answers = iter([b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"] * 2)
    empty = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
    server = Stub(lambda connection: connection.sendall(next(answers, empty)))
    with covey.Client(f"http://{server.address}") as client:
        assert client.models() == []
    assert len(server.requests) == 3
    server.stop()


def test_what_is_sent() -> None:
    with stub(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n") as server:
        with covey.Client(f"http://{server.address}/edge/", token="secret") as client:
            client.models(deadline_ms=5_000)
            client.models()
        head = server.requests[0].decode().lower()
        assert head.startswith("post /edge/covey.v1.classifier/listmodels?timeout_ms=5000 http/1.1\r\n")
        assert "\r\nauthorization: bearer secret\r\n" in head
        assert "\r\ncontent-type: application/x-protobuf\r\n" in head
        assert f"\r\nuser-agent: covey-python/{covey.__version__}\r\n" in head
        assert len(server.requests) == 2


@pytest.mark.parametrize("at", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_an_answer_that_drips_does_not_outlast_the_deadline(at: bytes) -> None:
    """Each byte comes long before a time-out for single reads would pass."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(at)
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)

    server = Stub(drip)
    began = time.monotonic()
    error = failure(f"http://{server.address}", deadline_ms=300)
    assert type(error) is covey.DeadlineExceeded
    assert "within 300 ms" in str(error)
    assert time.monotonic() - began < 10
    server.stop()


MESSAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"
ENDLESS = {
    "an announced size": (MESSAGE + b"Content-Length: 99999999999\r\n\r\n", b" " * 65_536, "has 99,999,999,999 bytes"),
    "a size of many digits": (MESSAGE + b"Content-Length: " + b"9" * 18 + b"\r\n\r\n", b" " * 65_536, "at most"),
    "chunks without end": (
        MESSAGE + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n", "more than 1,048,576",
    ),
    "bytes until the end of the connection": (MESSAGE + b"\r\n", b" " * 65_536, "has more than 1,048,576 bytes"),
    "gzip": (MESSAGE + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(1 << 20)), "is compressed ('gzip')"),
    "a page": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>Welcome</title>", b" " * 65_536, "message: Welcome)",
    ),
    "an error": (
        b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"800\r\n" + b"! " * 1024 + b"\r\n", "HTTP 500 Internal Server Error: ! ! !",
    ),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 9_000, "Receive buffer too long"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000, "within 2000 ms"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_answers_without_end_are_read_up_to_a_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ANSWER_BYTES", 1 << 20)
    head, piece, text = ENDLESS[name]
    taken: list[int] = []

    def send_without_end(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        connection.sendall(head)
        taken.append(0)
        while True:
            connection.sendall(piece)
            taken[-1] += len(piece)

    server = Stub(send_without_end)
    error = failure(f"http://{server.address}", deadline_ms=2_000)
    server.stop()
    assert text in str(error)
    # Beside what was read, the system holds some: of the sender, and of the receiver.
    assert name == "interim answers" or max(taken) < 16 << 20


def test_a_client_goes_on_after_an_answer_that_was_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ANSWER_BYTES", 1 << 20)
    answers = iter([MESSAGE + b"Content-Length: 1048577\r\n\r\n" + bytes(1_048_577)])
    server = Stub(lambda connection: connection.sendall(next(answers, MESSAGE + b"Content-Length: 0\r\n\r\n")))
    with covey.Client(f"http://{server.address}", retries=0) as client:
        with pytest.raises(covey.ServerError, match=r"has 1,048,577 bytes, at most 1,048,576 are read over HTTP"):
            client.models()
        assert client.models() == []
    assert len(server.requests) == 2
    server.stop()


def test_connections_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with fake_server("http", answer=lambda image: image.decode()) as server:

        async def run() -> None:
            async with covey.AsyncClient(server.target) as client:
                for _ in range(3):
                    found = await asyncio.gather(*[client.classify(b"%d" % number) for number in range(50)])
                    assert [each.label for each in found] == [str(number) for number in range(50)]
                (channel,) = client._channels
                assert len(channel._connections._idle) == 3

        asyncio.run(run())


def test_calls_that_were_given_up_do_not_use_up_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    server = ScriptedServer("http")
    server.hold()

    async def run() -> str:
        async with covey.AsyncClient(server.target, retries=0) as client:
            calls = [asyncio.ensure_future(client.classify(b"cat", deadline_ms=200)) for _ in range(6)]
            cancelled = [asyncio.ensure_future(client.classify(b"cat")) for _ in range(6)]
            assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {
                covey.DeadlineExceeded
            }
            for each in cancelled:
                each.cancel()
            await asyncio.wait(cancelled)
            server.release()
            return (await client.classify(b"dog")).label

    assert asyncio.run(run()) == "dog"
    server.stop()


def test_a_client_that_nobody_holds_any_more_ends_its_thread() -> None:
    with fake_server("http") as server:
        client = covey.Client(server.target)
        client.classify(b"cat")
        thread = client._channels[0]._thread._thread
        assert thread.is_alive()
        del client
        gc.collect()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_closing_ends_the_thread_and_calls_of_other_threads() -> None:
    server = ScriptedServer("http")
    server.hold()
    client = covey.Client(server.target)
    raised: list[BaseException] = []

    def call() -> None:
        try:
            client.classify(b"cat", deadline_ms=60_000)
        except BaseException as error:  # noqa: BLE001 - looked at below
            raised.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    server.wait_until_held()
    thread = client._channels[0]._thread._thread
    client.close()
    calling.join(timeout=30)
    thread.join(timeout=30)
    assert [type(error) for error in raised] == [covey.ClientClosed]
    assert not calling.is_alive()
    assert not thread.is_alive()
    client.close()  # again
    server.stop()


def test_a_proxy_of_the_environment_carries_what_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FakeServer() as fake:
        gateway = Gateway(fake.target)  # answers for whatever host is asked for: as a proxy would
        monkeypatch.setenv("http_proxy", gateway.target)
        with covey.Client("http://vision.invalid:8000") as client:
            assert client.model().name == "fake"
        assert len(gateway.requests) == 1
        with covey.Client(gateway.target.replace("127.0.0.1", "localhost")) as client:
            client.model()
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with covey.Client(gateway.target) as client:
            client.model()
        gateway.stop()


def test_httpx_is_only_imported_for_urls_and_its_absence_told() -> None:
    program = """
import sys
import covey
with covey.Client("127.0.0.1:1", retries=0) as client:
    try:
        client.models(deadline_ms=200)
    except covey.CallError:
        pass
print("httpx" in sys.modules)
sys.modules["httpx"] = None
for kind in covey.Client, covey.AsyncClient:
    try:
        kind("http://localhost:8000")
    except covey.InvalidInput as error:
        print(error)
from covey import cli
print(cli.main(["models", "--target", "http://localhost:8000"]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *told, code = run.stdout.splitlines()
    assert first == "False"
    assert len(told) == 2
    for line in (*told, *run.stderr.splitlines()):
        assert "need the package httpx; install it: pip install 'covey-serve[http]'" in line
    assert code == "2"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_echo_model(folder, "echo")
    return folder


def test_the_command_line_takes_urls(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.png").write_bytes(b"no image")
    with covey_server(models, "native", tmp_path / "log") as server:
        target = ["--target", f"http://{server.http_target}"]
        assert cli.main(["wait", *target]) == 0
        assert cli.main(["models", *target]) == 0
        assert cli.main(["info", *target]) == 0
        assert cli.main(["classify", str(tmp_path / "text.png"), *target]) == 1
        wrong = ["--target", f"http://{server.http_target}/prefix"]
        assert cli.main(["models", *wrong]) == 3
    out, err = capsys.readouterr()
    assert "echo" in out
    assert "error: not a JPEG, PNG" in out
    assert "does not know this call; is it a Covey server, and new enough? (there is nothing at" in err


def test_both_transports_give_the_same_results_and_errors(models: Path, tmp_path: Path) -> None:
    """Every field but times, which differ from call to call."""
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)

    def told(client: covey.Client) -> list[str]:
        calls: list[Callable[[], object]] = [
            lambda: client.classify(image, top_k=3),
            lambda: client.classify([image, image], model="echo", version=1),
            lambda: client.classify([b"no image", b"nor this"]),
            lambda: client.classify(b"no image"),
            lambda: client.classify(image[:2]),
            lambda: client.classify(image, model="nobody"),
            lambda: client.classify(image, top_k=10_000),
            lambda: client.classify(image, version=9),
            lambda: list(client.classify_many([image] * 30)),
            lambda: sorted(client.classify_stream(enumerate([image] * 30)), key=lambda pair: pair[0]),
            client.models,
            client.model,
            lambda: client.model("nobody"),
            client.wait_until_ready,
        ]
        found = []
        for call in calls:
            try:
                said = repr(call())
            except covey.CoveyError as error:
                said = repr(error)
            said = said.replace(client.target, "TARGET")
            found.append(re.sub(r"timing=Timing\([^)]*\)|(?<=_us=)[\d.]+", "...", said))
        return found

    with (
        covey_server(models, "native", tmp_path / "log") as server,
        covey.Client(server.target) as by_grpc,
        covey.Client(f"http://{server.http_target}") as by_http,
    ):
        assert told(by_http) == told(by_grpc)


def test_a_server_that_goes_and_comes_back(models: Path, tmp_path: Path) -> None:
    image = np.zeros((4, 4), np.uint8)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(covey_server(models, "native", tmp_path / "log"))
        client = stack.enter_context(covey.Client(f"http://{server.http_target}", retries=1))
        client.classify(image)
        port = server.http_target.rpartition(":")[2]
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(covey.Unavailable, match=r"no Covey server answers at http://.*\(tried 2 times\)"):
            client.classify(image)
        with pytest.raises(covey.DeadlineExceeded, match="is not ready after 200 ms"):
            client.wait_until_ready(deadline_ms=200)
        stack.enter_context(covey_server(models, "native", tmp_path / "log2", ["--http-port", port]))
        client.wait_until_ready()
        assert client.classify(image).model == "echo"


def test_a_server_that_drains_loses_no_call(models: Path, tmp_path: Path) -> None:
    """Those that it accepted are answered, and the others are refused before they count: a second attempt helps."""
    image = np.zeros((4, 4), np.uint8)
    outcomes: list[str] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(covey_server(models, "native", tmp_path / "log"))
        client = stack.enter_context(covey.Client(f"http://{server.http_target}", retries=0))
        begun, enough = threading.Barrier(5), threading.Event()

        def call() -> None:
            client.classify(image)
            begun.wait()
            while True:
                try:
                    client.classify(image)
                    outcomes.append("answered")
                    if len(outcomes) > 50:
                        enough.set()
                except covey.CoveyError as error:
                    outcomes.append(type(error).__name__)
                    return

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        assert enough.wait(timeout=30)
        os.kill(server.pid, signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=30)
    assert set(outcomes) == {"answered", "Unavailable"}
    assert outcomes.count("Unavailable") == 4
