"""TLS and tokens against real server processes, over gRPC and over HTTP: what works, and what each failure says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from bench.processes import READY, own_process
from tests.certificates import EXPIRED, Authority
from tests.conftest import WriteModel

import covey
from covey import cli, errors, messages
from covey.connection import is_local
from covey.failures import Failure
from covey.security import Access
from covey.testing import FakeServer
from covey_load.remote import Remote
from covey_proto.v1 import classifier_pb2 as pb

TOKEN, WRONG = "token-of-these-tests", "token-of-somebody-else"
IMAGE = bytes.fromhex("89504e470d0a1a0a")  # no whole image: what matters here is that the server reads it


class Servers:
    """Three servers of one model: `secure` with TLS and a token, `mutual` asking for client certificates, and
    `plaintext` with a token; the authority that signed, and one that nobody knows. The certificate is for localhost,
    and the targets are 127.0.0.1: of a name with two addresses gRPC tells one's failure only.

    `transport` is "grpc" or "http", and the targets are as that takes them."""

    transport = "grpc"

    def __init__(self, folder: Path, models: Path, running: contextlib.ExitStack) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder / "authority"), Authority(folder / "stranger")
        self.token_file = folder / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(f"{TOKEN}\n")
        certificate, key = map(str, self.authority.sign("localhost"))
        token = ["--auth-token-file", str(self.token_file)]
        tls = ["--tls-certificate", certificate, "--tls-key", key]
        mutual = [*tls, "--tls-client-ca", str(self.authority.certificate)]
        with ThreadPoolExecutor() as pool:  # they start at once
            starts = [pool.submit(self._start, models, flags, running) for flags in ([*tls, *token], mutual, token)]
        self._addresses = [start.result() for start in starts]

    @property
    def secure(self) -> str:
        return self._target(0)

    @property
    def mutual(self) -> str:
        return self._target(1)

    @property
    def plaintext(self) -> str:
        return self._target(2)

    def _target(self, number: int) -> str:
        found = self._addresses[number]
        return found["grpc"] if self.transport == "grpc" else f"http{'s' * (number < 2)}://{found['http']}"

    @property
    def metrics(self) -> str:
        return self._addresses[2]["metrics"]

    @property
    def grpc_address(self) -> str:
        return self._addresses[2]["grpc"]

    def _start(self, models: Path, flags: list[str], running: contextlib.ExitStack) -> dict[str, str]:
        command = [sys.executable, "-m", "covey_server", "--models", str(models), *flags]
        command += ["--grpc-port", "0", "--metrics-port", "0"]
        log = self.folder / f"log-{len(flags)}"
        process = running.enter_context(own_process(command, log))
        assert process.stdout is not None
        ready = READY.match(process.stdout.readline())
        assert ready is not None, log.read_text()
        return ready.groupdict()

    @property
    def tls(self) -> covey.TLS:
        return covey.TLS(self.authority.certificate, server_name="localhost")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    write_echo_model(folder / "models")
    with contextlib.ExitStack() as running:
        yield Servers(folder, folder / "models", running)


@pytest.fixture
def servers(started: Servers, transport: str) -> Servers:
    started.transport = transport
    return started


def failure(target: str, **settings: Any) -> covey.CallError:
    """What a call of either client fails with."""
    with covey.Client(target, **settings) as client, pytest.raises(covey.CallError) as caught:
        client.models()

    async def ask() -> covey.CallError:
        async with covey.AsyncClient(target, **settings) as client:
            with pytest.raises(covey.CallError) as caught:
                await client.models()
            return caught.value

    assert type(asyncio.run(ask())) is type(caught.value)
    return caught.value


def test_a_client_with_tls_and_a_token_does_all_that_clients_do(servers: Servers) -> None:
    for token in (TOKEN, covey.TokenFile(servers.token_file), lambda: TOKEN):
        with covey.Client(servers.secure, tls=servers.tls, token=token) as client:
            client.wait_until_ready()
            assert [model.name for model in client.models()] == ["echo"]
            with pytest.raises(covey.InvalidImage):
                client.classify(IMAGE)

    by_name = servers.secure.replace("127.0.0.1", "localhost")
    with covey.Client(by_name, tls=covey.TLS(servers.authority.certificate), token=TOKEN) as client:
        assert [model.name for model in client.models()] == ["echo"]

    async def ask() -> list[str]:
        async with covey.AsyncClient(servers.secure, tls=servers.tls, token=TOKEN) as client:
            await client.wait_until_ready()
            return [model.name for model in await client.models()]

    assert asyncio.run(ask()) == ["echo"]


def test_a_client_certificate(servers: Servers) -> None:
    certificate, key = servers.authority.sign("client", file="client")
    tls = covey.TLS(servers.authority.certificate, certificate, key, server_name="localhost")
    with covey.Client(servers.mutual, tls=tls) as client:
        assert [model.name for model in client.models()] == ["echo"]


@pytest.mark.parametrize("settings", [{}, {"token": WRONG}])
def test_no_token_and_a_wrong_one(servers: Servers, settings: dict[str, str]) -> None:
    for target, tls in ((servers.secure, servers.tls), (servers.plaintext, None)):
        error = failure(target, tls=tls, **settings)
        assert type(error) is covey.Unauthenticated
        assert "expected the metadata, over HTTP the header, `authorization: Bearer TOKEN`" in str(error)
        assert "token=" in str(error)
        assert WRONG not in f"{error!r} {error.details} {error.__cause__!r}"


def test_health_needs_no_token_over_tls_and_one_without(servers: Servers) -> None:
    """TLS is served by the grpcio front; the native one asks for a token before it knows what is called."""
    tls = covey.TLS(servers.authority.certificate, server_name="localhost")
    with covey.Client(servers.secure, tls=tls) as client:
        client.wait_until_ready()
    with covey.Client(servers.plaintext, token=TOKEN) as client:
        client.wait_until_ready()
    with covey.Client(servers.plaintext) as client:
        if servers.transport == "http":  # probes of load balancers have no token
            client.wait_until_ready()
        else:
            with pytest.raises(covey.Unauthenticated, match="none that is valid"):
                client.wait_until_ready()


def test_an_unknown_authority(servers: Servers) -> None:
    for tls in (True, covey.TLS(servers.stranger.certificate)):
        error = failure(servers.secure, tls=tls, token=TOKEN)
        assert type(error) is covey.HandshakeFailed
        assert "no authority that is trusted here has signed the server's certificate; covey.TLS(ca_" in str(error)


def test_a_wrong_host_name(servers: Servers) -> None:
    error = failure(servers.secure, tls=covey.TLS(servers.authority.certificate), token=TOKEN)
    assert type(error) is covey.HandshakeFailed
    assert "the server's certificate is for another name than the target" in str(error)


def test_an_expired_certificate(servers: Servers, tmp_path: Path) -> None:
    """Covey's server does not start with one: it expires while one runs. This is grpcio's own server."""
    certificate, key = (path.read_bytes() for path in servers.authority.sign("localhost", expires=EXPIRED, file="old"))
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    try:
        error = failure(f"127.0.0.1:{port}", tls=servers.tls)
    finally:
        server.stop(None).wait()
    assert type(error) is covey.HandshakeFailed
    assert "the server's certificate has expired; it has to be renewed there" in str(error)


def test_files_of_this_client_that_cannot_be_used(servers: Servers, tmp_path: Path) -> None:
    """gRPC looks at what is within them at the first call."""
    certificate, _ = servers.authority.sign("client", file="one")
    _, key = servers.authority.sign("client", file="two")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n")
    for tls in (covey.TLS(servers.authority.certificate, certificate, key), covey.TLS(garbage)):
        error = failure(servers.mutual, tls=tls)
        assert type(error) is covey.HandshakeFailed
        assert "the certificates or the key given here cannot be used; do they belong together?" in str(error)
        assert "tried" not in str(error)


def test_a_port_of_http(servers: Servers) -> None:
    """As the metrics' one is, beside the server's own. And one of gRPC, asked over HTTP."""
    if servers.transport == "grpc":
        error = failure(servers.metrics)
        assert type(error) is covey.HandshakeFailed
        assert "what listens there does not speak gRPC; is it another port?" in str(error)
        return
    error = failure(f"http://{servers.metrics}")
    assert type(error) is covey.ServerError
    assert "is it a Covey server, and new enough? (HTTP 404 Not Found" in str(error)
    error = failure(f"http://{servers.grpc_address}", retries=0)
    assert "what listens there does not speak HTTP/1.1; is it another port?" in str(error)


def test_tls_to_a_plaintext_port(servers: Servers) -> None:
    error = failure(servers.plaintext.replace("http:", "https:"), tls=servers.tls)
    assert type(error) is covey.HandshakeFailed
    assert "what listens there does not speak TLS; omit tls (--tls)" in str(error)


def test_plaintext_to_a_tls_port_is_told_as_far_as_it_can_be(servers: Servers) -> None:
    error = failure(servers.secure.replace("https:", "http:"), retries=0)
    assert type(error) is covey.Unavailable
    if servers.transport == "http":
        assert "if the server has TLS, write https://" in str(error)
    else:
        assert "something listens there and hangs up; if the server has TLS, give tls=True or covey.TLS" in str(error)


def test_a_missing_and_an_unknown_client_certificate(servers: Servers) -> None:
    error = failure(servers.mutual, tls=servers.tls, retries=0)
    if servers.transport == "http":  # OpenSSL tells what the server said
        assert type(error) is covey.HandshakeFailed
        assert "the server asks for a client's certificate: covey.TLS(client_certificate=..., ...)" in str(error)
    else:
        assert type(error) is covey.Unavailable
        assert "if it asks for a client's certificate: covey.TLS(client_certificate=..., ...)" in str(error)
    certificate, key = servers.stranger.sign("client", file="client")
    tls = covey.TLS(servers.authority.certificate, certificate, key, server_name="localhost")
    said = "the server does not" if servers.transport == "http" else "it may not"
    assert f"{said} accept this client's certificate" in str(failure(servers.mutual, tls=tls, retries=0))


def test_what_fails_for_good_is_not_tried_again_nor_waited_for(servers: Servers) -> None:
    began = time.monotonic()
    with covey.Client(servers.secure, tls=True, retries=1000, deadline_ms=100_000) as client:
        with pytest.raises(covey.HandshakeFailed) as caught:
            client.models()
        with pytest.raises(covey.HandshakeFailed):
            client.wait_until_ready()
    assert "tried" not in str(caught.value)
    assert time.monotonic() - began < 60  # retries and waiting would use the 100 s up


def test_another_address_is_asked_where_one_cannot_be_trusted(servers: Servers) -> None:
    targets = [servers.plaintext.replace("http:", "https:"), servers.secure]
    with covey.Client(targets, tls=servers.tls, token=TOKEN) as client:
        client.wait_until_ready()
        assert [client.models()[0].name for _ in range(5)] == ["echo"] * 5


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:8001", True), ("127.0.0.1:8001", True), ("[::1]:8001", True), ("unix:/run/covey", True),
        ("dns:///localhost:8001", True), ("ipv4:127.0.0.1:8001", True), ("gpu-7:8001", False),
        ("10.0.0.7:8001", False), ("localhost.evil.example:8001", False), ("dns:///covey:8001", False),
        ("127.0.0.1.example:8001", False), ("[fe80::1]:8001", False),
    ],
)  # fmt: skip
def test_a_token_goes_to_other_machines_only_encrypted_or_where_that_is_meant(target: str, local: bool) -> None:
    assert is_local(target) is local
    covey.Client(target, token=TOKEN, tls=True).close()
    covey.Client(target, token=TOKEN, tls=False).close()
    covey.Client(target).close()
    for token in (TOKEN, lambda: TOKEN):
        if local:
            covey.Client(target, token=token).close()
            continue
        with pytest.raises(covey.InvalidInput, match=r"for everybody on the way to read; give tls=True, or tls=False"):
            covey.Client(target, token=token)


def test_calls_of_this_machine_pass_by_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would read the token."""
    for name in ("no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as nobody, FakeServer() as server:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: what goes there fails
        monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:{1}".format(*nobody.getsockname()))
        target = server.target.replace("127.0.0.1", "localhost")
        with covey.Client(target, token=TOKEN, retries=0) as client:
            assert client.models()[0].name == "fake"

        async def ask() -> str:
            async with covey.AsyncClient(target, token=TOKEN, retries=0) as client:
                return (await client.models())[0].name

        assert asyncio.run(ask()) == "fake"
        remote = Remote(target, 10_000, token=TOKEN)
        assert remote.call(messages.LIST_MODELS, pb.ListModelsRequest()).models[0].name == "fake"


@pytest.mark.parametrize("token", ["two words", "line\n", "ümlaut", "Bearer x"])
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(covey.InvalidInput, match=r"the token is none: expected A-Z a-z 0-9") as caught:
        covey.Client(token=token)
    assert token not in str(caught.value)
    with covey.Client(token=lambda: token) as client, pytest.raises(covey.InvalidInput, match="the token is none"):
        client.models()


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = covey.TokenFile(path)
    with pytest.raises(covey.MissingFile, match="token: cannot be read"):
        token()
    for text in ("first\n", "second-one"):
        path.write_text(text)
        assert token() == text.strip()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"token-one\ntoken-two\n", b"# a comment\ntoken\n", b""])
def test_a_token_file_of_anything_else_is_named_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    expected = "token: expected one token, of A-Z a-z 0-9 .* and nothing else"
    with pytest.raises(covey.InvalidInput, match=expected) as caught:
        covey.TokenFile(path)()
    assert "token-" not in str(caught.value)
    with covey.Client(token=covey.TokenFile(path)) as client, pytest.raises(covey.InvalidInput, match=expected):
        client.models()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_token_that_is_too_long_for_the_server_is_told_with_its_length(asynchronous: bool) -> None:
    async def ask(target: str) -> None:
        async with covey.AsyncClient(target, token="a" * 40_000) as client:
            await client.models()

    message = r"takes no metadata as long as this call's, 40,020 bytes, .*hard limit.* 16384.*; bring a shorter token"
    with (
        FakeServer() as server,
        covey.Client(server.target, token="a" * 40_000) as client,
        pytest.raises(covey.InvalidRequest, match=message),
    ):
        asyncio.run(ask(server.target)) if asynchronous else client.models()


def test_what_other_servers_say_of_long_metadata_is_understood() -> None:
    refused = Failure("UNKNOWN", "Received http2 header with status: 431")
    error = errors.from_rpc_error(refused, "here:1", 10, metadata_bytes=lambda: 17_020)
    assert type(error) is covey.InvalidRequest
    assert "as long as this call's, 17,020 bytes," in str(error)


def test_no_representation_shows_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    from_file = covey.TokenFile(tmp_path / "token")
    assert from_file() == TOKEN
    client = covey.Client(token=TOKEN)
    shown = f"{client!r} {from_file!r} {vars(client)!r} {client._access!r} {client._session!r}"
    client.close()
    assert TOKEN not in shown


def test_files_of_tls_that_cannot_be_used_are_named(tmp_path: Path, servers: Servers) -> None:
    text = tmp_path / "text"
    text.write_text("text")
    with pytest.raises(covey.MissingFile, match=r"none\.pem: cannot be read \(No such file"):
        covey.Client(tls=covey.TLS(tmp_path / "none.pem"))
    with pytest.raises(covey.UnreadableFile, match="cannot be read"):
        covey.Client(tls=covey.TLS(tmp_path))
    with pytest.raises(covey.InvalidInput, match="text: expected a PEM file"):
        covey.Client(tls=covey.TLS(text))
    with pytest.raises(covey.InvalidInput, match="client_certificate and client_key go together"):
        covey.Client(tls=covey.TLS(client_key=servers.authority.certificate))


def test_the_command_line_takes_flags_and_environment(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ca = str(servers.authority.certificate)
    tls = ["--target", servers.secure, "--ca-certificate", ca, "--server-name", "localhost"]
    assert cli.main(["wait", *tls]) == 0
    assert cli.main(["models", *tls, "--token-file", str(servers.token_file)]) == 0
    for name, value in (
        ("TARGET", servers.secure),
        ("CA_CERTIFICATE", ca),
        ("SERVER_NAME", "localhost"),
        ("TOKEN", TOKEN),
    ):
        monkeypatch.setenv(f"COVEY_{name}", value)
    assert cli.main(["info"]) == 0
    monkeypatch.setenv("COVEY_TOKEN", WRONG)
    assert capsys.readouterr().err == ""
    assert cli.main(["models"]) == 3
    assert cli.main(["models", "--no-tls"]) == 2
    monkeypatch.delenv("COVEY_CA_CERTIFICATE")
    monkeypatch.delenv("COVEY_SERVER_NAME")
    monkeypatch.setenv("COVEY_TLS", "1")
    assert cli.main(["models"]) == 3
    monkeypatch.setenv("COVEY_TLS", "perhaps")
    assert cli.main(["models"]) == 2
    unknown, contradiction, untrusted, wrong = capsys.readouterr().err.splitlines()
    assert "does not know who calls" in unknown
    assert "--no-tls goes with no certificate" in contradiction
    assert "no authority that is trusted here" in untrusted
    assert "COVEY_TLS='perhaps': expected 1 or 0" in wrong
    assert WRONG not in unknown + contradiction + untrusted + wrong


def test_tls_alone_or_not_at_all() -> None:
    assert Access(True, "").tls == covey.TLS()
    assert Access(None, "").tls is Access(False, "").tls is None
    assert Access(None, "").metadata is None
